'use strict';

var parse = require('../');

module.exports = function count(args) {
	return parse.names(parse(args)).length;
};
