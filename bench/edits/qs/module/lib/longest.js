'use strict';

var qs = require('./');

module.exports = function longest(list) {
    return Math.max.apply(null, list.map(qs.count));
};
