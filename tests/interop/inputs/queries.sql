CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER, s TEXT);
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000)
INSERT INTO t SELECT i, (i * 7919) % 1009, substr(hex(i * 2654435761), 1, 1 + i % 12) FROM c;
CREATE INDEX by_n ON t(n, s);
SELECT n, count(*), max(s), length(group_concat(s)) FROM t GROUP BY n ORDER BY 2 DESC, n LIMIT 20;
SELECT count(*) FROM t a JOIN t b ON a.n = b.n AND a.s < b.s;
DELETE FROM t WHERE n % 3 = 0; VACUUM; PRAGMA integrity_check;
SELECT json_group_array(json_object('k', s, 'v', n)) FROM (SELECT * FROM t ORDER BY s, id LIMIT 200);
