/* trees.c - binary trees: built, summed, dropped, while one long-lived tree stays.
 * Load        one thread a processor, one size (24 bytes), depth 4 to 16; allocation order is
 *             the walk order.
 * Checks      the node count of every tree. */
#include "bench.h"

typedef struct tree {
    struct tree *left, *right;
    uint64_t value;
} tree;

typedef struct {
    uint64_t checksum;
    char pad[56];
} job;

static tree *build(int depth) {
    tree *t = bench_need(malloc(sizeof(*t)));
    t->value = 1;
    t->left = depth > 0 ? build(depth - 1) : NULL;
    t->right = depth > 0 ? build(depth - 1) : NULL;
    return t;
}

static uint64_t sum(const tree *t) {
    return t == NULL ? 0 : t->value + sum(t->left) + sum(t->right);
}

static void drop(tree *t) {
    if (t == NULL) return;
    drop(t->left);
    drop(t->right);
    free(t);
}

static void *work(void *arg) {
    job *j = arg;
    tree *lasting = build(14);
    for (int depth = 4; depth <= 16; depth += 4) {
        size_t count = bench_scaled((size_t)36 << (16 - depth)) / (size_t)bench_threads + 1;
        for (size_t i = 0; i < count; i++) {
            tree *t = build(depth);
            uint64_t nodes = sum(t);
            if (nodes != ((uint64_t)2 << depth) - 1) bench_fail("trees: nodes were lost");
            j->checksum += nodes;
            drop(t);
        }
    }
    j->checksum += sum(lasting);
    drop(lasting);
    return NULL;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 0);
    job jobs[256] = {0};
    uint64_t checksum = 0;
    bench_run(work, jobs, sizeof(job));
    for (int i = 0; i < bench_threads; i++)
        checksum += jobs[i].checksum;
    return bench_done("trees", checksum);
}
