'use strict';

var qs = require('../');
var test = require('tape');

test('count of the keys', function (t) {
    t.equal(qs.count('a=1&b=2'), 2);
    t.end();
});
