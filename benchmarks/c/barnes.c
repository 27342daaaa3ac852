/* barnes.c - gravity of bodies by an octree that is built and dropped at every step.
 * Load        one thread, one block size (96 bytes), all freed together, much arithmetic in
 *             between.
 * Checks      the tree's mass is the sum of the bodies' masses at every step. */
#include <math.h>

#include "bench.h"

typedef struct {
    double at[3], speed[3], mass;
} body;

typedef struct node {
    double centre[3], mass; /* mass-weighted until summed, then the centre of mass */
    struct node *child[8];
    const body *only; /* a leaf's body */
} node;

static node *node_new(const body *b) {
    node *n = bench_need(calloc(1, sizeof(*n)));
    n->only = b;
    return n;
}

static unsigned octant(const body *b, const double *middle) {
    return (unsigned)((b->at[0] > middle[0]) | (b->at[1] > middle[1]) << 1 |
                      (b->at[2] > middle[2]) << 2);
}

static void insert(node **where, const body *b, const double *middle, double half, int depth) {
    if (*where == NULL) {
        *where = node_new(b);
        return;
    }
    node *n = *where;
    const body *moved = n->only;
    n->only = NULL;
    const body *both[2] = {moved, b};
    for (int i = moved == NULL; i < 2; i++) {
        unsigned o = octant(both[i], middle);
        if (depth > 40) continue;
        double m[3];
        for (int k = 0; k < 3; k++)
            m[k] = middle[k] + ((o >> k & 1) ? half : -half) / 2;
        insert(&n->child[o], both[i], m, half / 2, depth + 1);
    }
}

static void summarise(node *n) {
    if (n->only != NULL) {
        memcpy(n->centre, n->only->at, sizeof(n->centre));
        n->mass = n->only->mass;
        return;
    }
    for (int o = 0; o < 8; o++) {
        if (n->child[o] == NULL) continue;
        summarise(n->child[o]);
        n->mass += n->child[o]->mass;
        for (int k = 0; k < 3; k++)
            n->centre[k] += n->child[o]->centre[k] * n->child[o]->mass;
    }
    for (int k = 0; k < 3; k++)
        n->centre[k] /= n->mass;
}

static void pull(const node *n, const body *b, double width, double *force) {
    double d[3], r2 = 1e-4;
    for (int k = 0; k < 3; k++) {
        d[k] = n->centre[k] - b->at[k];
        r2 += d[k] * d[k];
    }
    if (n->only != NULL || width * width < 0.6 * r2) {
        double f = n->mass / (r2 * sqrt(r2));
        for (int k = 0; k < 3; k++)
            force[k] += f * d[k];
        return;
    }
    for (int o = 0; o < 8; o++) {
        if (n->child[o] != NULL) pull(n->child[o], b, width / 2, force);
    }
}

static void drop(node *n) {
    if (n == NULL) return;
    for (int o = 0; o < 8; o++)
        drop(n->child[o]);
    free(n);
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    bench_rng rng = bench_seed(3);
    size_t count = 25000, steps = bench_scaled(3);
    body *bodies = bench_need(malloc(count * sizeof(body)));
    for (size_t i = 0; i < count; i++) {
        bodies[i] = (body){.mass = 1.0 / (double)count};
        for (int k = 0; k < 3; k++)
            bodies[i].at[k] = bench_next(&rng) / 4294967296.0 - 0.5;
    }
    for (size_t step = 0; step < steps; step++) {
        const double middle[3] = {0, 0, 0};
        node *root = node_new(NULL);
        for (size_t i = 0; i < count; i++)
            insert(&root, &bodies[i], middle, 64, 0);
        summarise(root);
        if (fabs(root->mass - 1.0) > 1e-6) bench_fail("barnes: mass was lost");
        for (size_t i = 0; i < count; i++) {
            double force[3] = {0, 0, 0};
            pull(root, &bodies[i], 128, force);
            for (int k = 0; k < 3; k++)
                bodies[i].speed[k] += 1e-4 * force[k];
        }
        for (size_t i = 0; i < count; i++) {
            for (int k = 0; k < 3; k++)
                bodies[i].at[k] += 1e-3 * bodies[i].speed[k];
        }
        drop(root);
    }
    uint64_t checksum = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, &bodies[i].at[0], sizeof(bits));
        checksum = checksum * 31 + bits;
    }
    free(bodies);
    return bench_done("barnes", checksum);
}
