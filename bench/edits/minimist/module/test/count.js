'use strict';

var count = require('../lib/count');
var test = require('tape');

test('count of the options', function (t) {
	t.equal(count(['-a', '-b']), 2);
	t.end();
});
