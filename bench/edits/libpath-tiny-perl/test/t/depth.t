use strict;
use warnings;
use Test::More;
use Path::Tiny;

is( path('/a/b')->depth, 2, 'depth' );
done_testing;
