# words.pl - hashes of strings and arrays, splitting, joining, sorting, regular expressions.
use strict;
use warnings;
my ($state, %count, %lines) = (12345);
sub draw { $state = ($state * 1103515245 + 12345) % 2147483648; return int($state / 65536) % $_[0] }
my @stems = map { my $w = ''; $w .= chr(97 + draw(26)) for 1 .. 3 + draw(6); $w } 1 .. 3000;
for my $number (1 .. 60000) {
    my $line = join ' ', map { $stems[draw(3000)] . (draw(4) ? '' : 's') } 1 .. 8;
    for my $word (split / /, $line) { $count{$word}++; }
    push @{ $lines{ substr $line, 0, 2 } }, $line if $number % 3 == 0;
}
my $total = 0;
for my $key (sort keys %lines) {
    my $text = join "\n", @{ $lines{$key} };
    $text =~ s/\b(\w+)s\b/<$1>/g;
    $total += length $text;
}
my @top = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 4];
print join(' ', scalar(keys %count), $total, map { "$_=$count{$_}" } @top), "\n";
