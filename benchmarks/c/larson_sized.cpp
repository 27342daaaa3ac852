/* larson_sized.cpp - the server pattern of larson_body.h on operator new and sized operator delete.
 * Load        as larson.c; an allocator may believe the size and skip looking it up. */
#include <new>

#include "larson_body.h"

static unsigned char *larson_take(size_t size) {
    return static_cast<unsigned char *>(::operator new(size));
}

static void larson_give(unsigned char *block, size_t size) {
    ::operator delete(static_cast<void *>(block), size);
}

int main(int argc, char **argv) {
    return larson_main("larson_sized", argc, argv, 300);
}
