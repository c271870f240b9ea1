use strict;
use warnings;

package Path::Tiny::Deepest;

use Path::Tiny ();

sub deepest {
    my ($deepest) = sort { $b->depth <=> $a->depth } map { Path::Tiny::path($_) } @_;
    return $deepest;
}

1;
