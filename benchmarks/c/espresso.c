/* espresso.c - complements of random Boolean covers by Shannon expansion, as a logic minimiser
 * does it.
 * Method      a cover is a growing list of cubes (2 bits a variable, own block); the recursion
 *             makes cofactors, merges, absorbs contained cubes and drops everything again.
 * Load        one thread, blocks of 16-512 bytes, lifetimes nested, realloc of small lists.
 * Checks      every random minterm is in exactly one of cover and complement. */
#include "bench.h"

enum { VARIABLES = 96, WORDS = VARIABLES / 32 };

typedef struct {
    uint64_t literal[WORDS]; /* 2 bits a variable: 01 must be 0, 10 must be 1, 11 any */
} cube;

typedef struct {
    size_t count, room;
    cube **cubes;
} cover;

static unsigned literal_of(const cube *c, unsigned v) {
    return (unsigned)(c->literal[v / 32] >> (v % 32 * 2)) & 3;
}

static void literal_set(cube *c, unsigned v, unsigned literal) {
    c->literal[v / 32] &= ~((uint64_t)3 << (v % 32 * 2));
    c->literal[v / 32] |= (uint64_t)literal << (v % 32 * 2);
}

static cover *cover_new(void) {
    cover *c = bench_need(malloc(sizeof(*c)));
    *c = (cover){0};
    return c;
}

static void cover_free(cover *c) {
    for (size_t i = 0; i < c->count; i++)
        free(c->cubes[i]);
    free(c->cubes);
    free(c);
}

static cube *cube_copy(const cube *from) {
    cube *c = bench_need(malloc(sizeof(*c)));
    *c = *from;
    return c;
}

static int cube_contains(const cube *outer, const cube *inner) {
    for (int w = 0; w < WORDS; w++) {
        if (inner->literal[w] & ~outer->literal[w]) return 0;
    }
    return 1;
}

/* Adds a cube the cover owns from now on; cubes inside another are dropped. */
static void cover_add(cover *c, cube *added) {
    for (size_t i = 0; i < c->count;) {
        if (cube_contains(c->cubes[i], added)) {
            free(added);
            return;
        }
        if (cube_contains(added, c->cubes[i])) {
            free(c->cubes[i]);
            c->cubes[i] = c->cubes[--c->count];
        } else {
            i++;
        }
    }
    if (c->count == c->room) {
        c->room = c->room == 0 ? 2 : c->room * 2;
        c->cubes = bench_need(realloc(c->cubes, c->room * sizeof(cube *)));
    }
    c->cubes[c->count++] = added;
}

static cover *cofactor(const cover *c, unsigned v, unsigned literal) {
    cover *r = cover_new();
    for (size_t i = 0; i < c->count; i++) {
        if (!(literal_of(c->cubes[i], v) & literal)) continue;
        cube *copy = cube_copy(c->cubes[i]);
        literal_set(copy, v, 3);
        cover_add(r, copy);
    }
    return r;
}

/* The variable most cubes depend on, or VARIABLES when a cube is the whole space. */
static unsigned branching_variable(const cover *c) {
    unsigned uses[VARIABLES] = {0}, best = 0;
    for (size_t i = 0; i < c->count; i++) {
        unsigned literals = 0;
        for (unsigned v = 0; v < VARIABLES; v++) {
            if (literal_of(c->cubes[i], v) != 3) {
                uses[v]++;
                literals++;
            }
        }
        if (literals == 0) return VARIABLES;
    }
    for (unsigned v = 1; v < VARIABLES; v++) {
        if (uses[v] > uses[best]) best = v;
    }
    return best;
}

static cover *complement(const cover *c) {
    cover *r = cover_new();
    cube all;
    memset(&all, 0xFF, sizeof(all));
    if (c->count == 0) {
        cover_add(r, cube_copy(&all));
        return r;
    }
    unsigned v = branching_variable(c);
    if (v == VARIABLES) return r;
    if (c->count == 1) {
        for (unsigned i = 0; i < VARIABLES; i++) {
            unsigned literal = literal_of(c->cubes[0], i);
            if (literal == 3) continue;
            cube *piece = cube_copy(&all);
            literal_set(piece, i, literal ^ 3);
            cover_add(r, piece);
        }
        return r;
    }
    for (unsigned literal = 1; literal <= 2; literal++) {
        cover *part = cofactor(c, v, literal), *rest = complement(part);
        for (size_t i = 0; i < rest->count; i++) {
            cube *piece = cube_copy(rest->cubes[i]);
            literal_set(piece, v, literal);
            cover_add(r, piece);
        }
        cover_free(part);
        cover_free(rest);
    }
    return r;
}

static int cover_holds(const cover *c, const cube *minterm) {
    for (size_t i = 0; i < c->count; i++) {
        if (cube_contains(c->cubes[i], minterm)) return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    bench_rng rng = bench_seed(2);
    uint64_t checksum = 0;
    size_t rounds = bench_scaled(220);
    for (size_t round = 0; round < rounds; round++) {
        cover *c = cover_new();
        for (int i = 0; i < 14; i++) {
            cube *k = bench_need(malloc(sizeof(*k)));
            memset(k, 0xFF, sizeof(*k));
            for (int l = 0; l < 4; l++)
                literal_set(k, bench_below(&rng, 20), 1 + bench_below(&rng, 2));
            cover_add(c, k);
        }
        cover *r = complement(c);
        for (int probe = 0; probe < 8; probe++) {
            cube minterm;
            for (unsigned v = 0; v < VARIABLES; v++)
                literal_set(&minterm, v, 1 + bench_below(&rng, 2));
            if (cover_holds(c, &minterm) == cover_holds(r, &minterm))
                bench_fail("espresso: cover and complement overlap or leave a hole");
        }
        checksum = checksum * 131 + r->count;
        cover_free(c);
        cover_free(r);
    }
    return bench_done("espresso", checksum);
}
