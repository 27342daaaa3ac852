/* bignum.c - continued fraction of sqrt(N) with every number on the heap, as a factoring program
 * does it.
 * Method      P, Q, A of the continued fraction of a 60-digit N; each operation makes a new
 *             number (12-60 bytes) and drops the old ones; Q is trial-divided over small primes.
 * Load        one thread, many short-lived tiny blocks, few live at a time.
 * Checks      A^2 = (-1)^k Q (mod N) every 512 steps. */
#include "bench.h"

typedef struct {
    uint32_t count; /* digits in use, 0 is zero */
    uint32_t digit[];
} number;

static number *number_new(uint32_t count) {
    number *n = bench_need(malloc(sizeof(number) + count * sizeof(uint32_t)));
    n->count = count;
    return n;
}

static number *number_trim(number *n) {
    while (n->count > 0 && n->digit[n->count - 1] == 0)
        n->count--;
    return n;
}

static number *number_from(uint32_t value) {
    number *n = number_new(1);
    n->digit[0] = value;
    return number_trim(n);
}

static number *number_copy(const number *a) {
    number *n = number_new(a->count);
    memcpy(n->digit, a->digit, a->count * sizeof(uint32_t));
    return n;
}

static int number_compare(const number *a, const number *b) {
    if (a->count != b->count) return a->count < b->count ? -1 : 1;
    for (uint32_t i = a->count; i-- > 0;) {
        if (a->digit[i] != b->digit[i]) return a->digit[i] < b->digit[i] ? -1 : 1;
    }
    return 0;
}

static number *number_add(const number *a, const number *b) {
    if (a->count < b->count) return number_add(b, a);
    number *r = number_new(a->count + 1);
    uint64_t carry = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        carry += (uint64_t)a->digit[i] + (i < b->count ? b->digit[i] : 0);
        r->digit[i] = (uint32_t)carry;
        carry >>= 32;
    }
    r->digit[a->count] = (uint32_t)carry;
    return number_trim(r);
}

/* a - b, for a >= b. */
static number *number_sub(const number *a, const number *b) {
    number *r = number_new(a->count);
    int64_t borrow = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        int64_t d = (int64_t)a->digit[i] - (i < b->count ? b->digit[i] : 0) + borrow;
        r->digit[i] = (uint32_t)d;
        borrow = d < 0 ? -1 : 0;
    }
    if (borrow != 0) bench_fail("bignum: negative difference");
    return number_trim(r);
}

static number *number_mul(const number *a, const number *b) {
    number *r = number_new(a->count + b->count);
    memset(r->digit, 0, r->count * sizeof(uint32_t));
    for (uint32_t i = 0; i < a->count; i++) {
        uint64_t carry = 0;
        for (uint32_t j = 0; j < b->count; j++) {
            carry += (uint64_t)a->digit[i] * b->digit[j] + r->digit[i + j];
            r->digit[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        r->digit[i + b->count] = (uint32_t)carry;
    }
    return number_trim(r);
}

static number *number_div_small(const number *a, uint32_t by, uint32_t *rest_out) {
    number *q = number_new(a->count);
    uint64_t rest = 0;
    for (uint32_t i = a->count; i-- > 0;) {
        rest = rest << 32 | a->digit[i];
        q->digit[i] = (uint32_t)(rest / by);
        rest %= by;
    }
    *rest_out = (uint32_t)rest;
    return number_trim(q);
}

static number *number_shift(const number *a, unsigned bits) {
    number *r = number_new(a->count + 1);
    uint64_t carry = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        carry |= (uint64_t)a->digit[i] << bits;
        r->digit[i] = (uint32_t)carry;
        carry >>= 32;
    }
    r->digit[a->count] = (uint32_t)carry;
    return r;
}

/* Schoolbook long division; the remainder replaces *rest_out when that is asked for. */
static number *number_div(const number *a, const number *b, number **rest_out) {
    if (number_compare(a, b) < 0) {
        if (rest_out != NULL) *rest_out = number_copy(a);
        return number_new(0);
    }
    if (b->count == 1) {
        uint32_t rest;
        number *q = number_div_small(a, b->digit[0], &rest);
        if (rest_out != NULL) *rest_out = number_from(rest);
        return q;
    }
    unsigned bits = (unsigned)__builtin_clz(b->digit[b->count - 1]);
    number *u = number_shift(a, bits), *v = number_trim(number_shift(b, bits));
    uint32_t n = v->count, m = a->count - n;
    number *q = number_new(m + 1);
    for (uint32_t j = m + 1; j-- > 0;) {
        uint64_t top = (uint64_t)u->digit[j + n] << 32 | u->digit[j + n - 1];
        uint64_t guess = top / v->digit[n - 1], rest = top % v->digit[n - 1];
        while (guess >> 32 || guess * v->digit[n - 2] > (rest << 32 | u->digit[j + n - 2])) {
            guess--;
            rest += v->digit[n - 1];
            if (rest >> 32) break;
        }
        int64_t borrow = 0, t;
        uint64_t carry = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t p = guess * v->digit[i] + carry;
            carry = p >> 32;
            t = (int64_t)u->digit[i + j] - (int64_t)(uint32_t)p + borrow;
            u->digit[i + j] = (uint32_t)t;
            borrow = t >> 32;
        }
        t = (int64_t)u->digit[j + n] - (int64_t)carry + borrow;
        u->digit[j + n] = (uint32_t)t;
        if (t < 0) {
            guess--;
            carry = 0;
            for (uint32_t i = 0; i < n; i++) {
                carry += (uint64_t)u->digit[i + j] + v->digit[i];
                u->digit[i + j] = (uint32_t)carry;
                carry >>= 32;
            }
            u->digit[j + n] += (uint32_t)carry;
        }
        q->digit[j] = (uint32_t)guess;
    }
    if (rest_out != NULL) {
        number *rest = number_new(n);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t pair = (uint64_t)u->digit[i + 1] << 32 | u->digit[i];
            rest->digit[i] = (uint32_t)(pair >> bits);
        }
        *rest_out = number_trim(rest);
    }
    free(u);
    free(v);
    return number_trim(q);
}

static number *number_mod(number *a, const number *n) {
    number *rest;
    free(number_div(a, n, &rest));
    free(a);
    return rest;
}

static number *number_sqrt(const number *n) {
    number *x = number_copy(n);
    for (;;) {
        number *q = number_div(n, x, NULL), *sum = number_add(q, x);
        uint32_t rest;
        number *y = number_div_small(sum, 2, &rest);
        free(q);
        free(sum);
        if (number_compare(y, x) >= 0) {
            free(y);
            return x;
        }
        free(x);
        x = y;
    }
}

int main(int argc, char **argv) {
    static const uint32_t primes[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53};
    bench_start(argc, argv, 1);
    bench_rng rng = bench_seed(1);
    number *n = number_new(6);
    for (uint32_t i = 0; i < n->count; i++)
        n->digit[i] = bench_next(&rng) | 1;

    number *root = number_sqrt(n), *p = number_new(0), *q = number_from(1);
    number *before = number_from(0), *a = number_from(1);
    uint64_t checksum = 0;
    size_t steps = bench_scaled(480000);
    for (size_t k = 1; k <= steps; k++) {
        number *sum = number_add(root, p), *term = number_div(sum, q, NULL);
        number *product = number_mul(term, q), *p_next = number_sub(product, p);
        number *square = number_mul(p_next, p_next), *difference = number_sub(n, square);
        number *q_next = number_div(difference, q, NULL);
        number *scaled = number_mul(term, a), *a_next = number_mod(number_add(scaled, before), n);
        free(sum), free(term), free(product), free(square), free(difference), free(scaled);
        free(p), free(q), free(before);
        p = p_next, q = q_next, before = a, a = a_next;

        number *left = number_copy(q);
        for (size_t i = 0; i < sizeof(primes) / sizeof(primes[0]); i++) {
            uint32_t rest;
            number *quotient = number_div_small(left, primes[i], &rest);
            if (rest == 0 && left->count > 0) {
                free(left);
                left = quotient;
                checksum += primes[i];
            } else {
                free(quotient);
            }
        }
        checksum = checksum * 31 + (left->count > 0 ? left->digit[0] : 0);
        free(left);
        if (k % 512 == 0) {
            number *lhs = number_mod(number_mul(a, a), n);
            number *rhs = k % 2 == 0 ? number_copy(q) : number_sub(n, q);
            if (number_compare(lhs, rhs) != 0) bench_fail("bignum: wrong congruence");
            free(lhs);
            free(rhs);
        }
    }
    free(n), free(root), free(p), free(q), free(before), free(a);
    return bench_done("bignum", checksum);
}
