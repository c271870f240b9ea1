use strict;
use warnings;
use Test::More;
use Path::Tiny::Deepest;

is( Path::Tiny::Deepest::deepest( 'a', 'a/b' ) . '', 'a/b', 'deepest' );
done_testing;
