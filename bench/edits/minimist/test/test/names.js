'use strict';

var parse = require('../');
var test = require('tape');

test('names of the options', function (t) {
	t.deepEqual(parse.names(parse(['-a', '1', 'rest'])), ['a']);
	t.end();
});
