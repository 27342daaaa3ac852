-- orders.sql - an order book in memory: inserts, indices, joins, text functions, deletes.
CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER, item TEXT, amount REAL, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO customers SELECT i, 'customer ' || i, 'city ' || (i * 7919 % 97) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO orders
SELECT i, i * 104729 % 5000 + 1, 'item ' || (i * 31 % 1009), i * 17 % 1000 / 10.0,
       substr(hex(i * 2654435761 % 4294967296) || 'the quick brown fox jumps', 1, 8 + i % 40)
FROM n;
CREATE INDEX orders_customer ON orders(customer);
CREATE INDEX orders_item ON orders(item, amount);
SELECT count(*), round(sum(amount), 1) FROM orders;
SELECT city, count(*), round(sum(amount), 1) FROM orders JOIN customers ON customer = customers.id
GROUP BY city ORDER BY city LIMIT 5;
SELECT item, group_concat(note, ',') FROM orders WHERE item LIKE 'item 10%'
GROUP BY item ORDER BY item LIMIT 3;
SELECT count(DISTINCT upper(replace(note, 'quick', 'slow')) || item) FROM orders;
UPDATE orders SET note = note || ' / ' || item WHERE id % 3 = 0;
DELETE FROM orders WHERE id % 5 = 0;
SELECT count(*), max(length(note)) FROM orders;
SELECT count(*) FROM orders a JOIN orders b ON a.item = b.item AND a.amount < b.amount
WHERE a.id % 16 = 1;
