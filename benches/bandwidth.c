/* How fast this machine reads memory: the ceiling of any decode.
 *
 * Every thread sums its own gibibyte, in 2 MiB pages where the kernel grants
 * them, so that no cache can hold what is read. Prints gigabytes (10^9) a
 * second over all threads, one line a pass.
 *
 *     cc -O3 -march=native -fopenmp bandwidth.c -o bandwidth && ./bandwidth THREADS PASSES
 */
#define _GNU_SOURCE
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BYTES ((size_t)1 << 30)
#define LANES 64

static uint64_t total(const uint64_t *words, size_t count) {
    /* Many independent sums, so that the adds never wait for one another. */
    uint64_t lanes[LANES] = {0}, sum = 0;
    for (size_t at = 0; at < count; at += LANES)
        for (int lane = 0; lane < LANES; lane++) lanes[lane] += words[at + lane];
    for (int lane = 0; lane < LANES; lane++) sum += lanes[lane];
    return sum;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1, passes = argc > 2 ? atoi(argv[2]) : 5;
    uint64_t **parts = calloc(threads, sizeof *parts), check = 0;
    omp_set_num_threads(threads);
#pragma omp parallel for
    for (int part = 0; part < threads; part++) {
        void *memory = NULL;
        if (posix_memalign(&memory, 1 << 21, BYTES)) abort();
        madvise(memory, BYTES, MADV_HUGEPAGE);
        memset(memory, part + 1, BYTES);
        parts[part] = memory;
    }
    for (int pass = 0; pass < passes; pass++) {
        double start = omp_get_wtime();
#pragma omp parallel for reduction(+ : check)
        for (int part = 0; part < threads; part++) check += total(parts[part], BYTES / 8);
        printf("%.2f\n", threads * (double)BYTES / (omp_get_wtime() - start) / 1e9);
    }
    /* The sum is used, so that the reads cannot be left out. */
    return check == 42;
}
