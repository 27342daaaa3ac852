use strict; my %seen; my @lines = <STDIN>;
for (@lines) { my ($n, $w) = split; push @{$seen{substr($w, 0, 2)}}, $n; }
for my $k (sort keys %seen) { printf "%s %d %s\n", $k, scalar @{$seen{$k}}, join(",", (sort { $a <=> $b } @{$seen{$k}})[0..2]); }
my $t = join "", @lines; my $c = () = $t =~ /(\w)\1/g; (my $u = $t) =~ s/([aeiou])/<$1>/g; print "$c ", length $u, "\n";
my $p = fork; if (!$p) { exit 9 } waitpid $p, 0; print $? >> 8, "\n"; exit 4;
