'use strict';

var longest = require('../lib/longest');
var test = require('tape');

test('the most keys', function (t) {
    t.equal(longest(['a=1', 'a=1&b=2']), 2);
    t.end();
});
