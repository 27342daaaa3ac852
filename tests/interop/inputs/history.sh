set -e
git init -q -b main source; cd source
git config user.name t; git config user.email t@example.org
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    export GIT_AUTHOR_DATE="2020-01-$(printf %02d $i)T00:00:00Z"; export GIT_COMMITTER_DATE="$GIT_AUTHOR_DATE"
    mkdir -p d$((i % 4)); head -n $((i * 150)) ../words > d$((i % 4))/f$i; echo $i >> log
    git add .; git commit -q -m "commit $i"
done
git gc -q --aggressive --prune=now
cd ..; git clone -q source copy; cd copy
git log --stat --format='%H %s %ad' ; git rev-parse HEAD; git diff HEAD~5 --stat
git blame log; git grep -c ab | sort; git archive HEAD | sha1sum; git fsck 2>&1
