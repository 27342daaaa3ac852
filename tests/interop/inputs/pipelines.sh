total=0; for i in $(seq 1 60); do total=$((total + $(echo $i | wc -c))); done; echo $total
seq 1 30000 | awk '{ s[$1 % 101] = s[$1 % 101] $1 } END { for (i = 0; i < 101; i++) print length(s[i]) }' | sort -n | uniq -c
find /usr/include -maxdepth 1 -name '*.h' | sort | xargs cat | sed 's/define/DEFINE/g' | sha1sum
(exit 6); echo $?; exec sh -c 'exit 8'
