/* Goldbach's comet: in how many ways is an even number the sum of two primes? The table of primes is made once; a job counts
 * the ways of ten numbers. */
#include "denali.h"

enum { LIMIT = 20000000, FIRST = 2000000, NUMBERS = 10, BLOCKS = (LIMIT - FIRST) / (2 * NUMBERS) };

/* Whether the odd number 2i + 1 is no prime. */
static unsigned char composite[LIMIT / 2];

static void make_table(void)
{
    composite[0] = 1;
    for (long p = 3; p * p < LIMIT; p += 2)
        for (long multiple = p * p; multiple < LIMIT && !composite[p / 2]; multiple += 2 * p)
            composite[multiple / 2] = 1;
}

static long ways(long number)
{
    long count = 0;
    for (long p = 3; 2 * p <= number; p += 2)
        count += !composite[p / 2] && !composite[(number - p) / 2];
    return count;
}

int main(int argc, char **argv)
{
    make_table();
    if (denali_ready(&argc, &argv) < 0) {
        perror("the job's arguments");
        return 1;
    }
    long block = argc > 1 ? atol(argv[1]) : -1;
    if (block < 0 || block >= BLOCKS) {
        fprintf(stderr, "give the number of a block, below %d\n", BLOCKS);
        return 1;
    }
    FILE *file = denali_result("ways.csv");
    if (!file) {
        perror("ways.csv");
        return 1;
    }
    long sum = 0;
    for (int i = 0; i < NUMBERS; i++) {
        long number = FIRST + 2 * (block * NUMBERS + i), count = ways(number);
        fprintf(file, "%ld,%ld\n", number, count);
        sum += count;
        denali_progress((i + 1) / (double)NUMBERS);
    }
    printf("block %ld: %ld ways\n", block, sum);
    return fclose(file) != 0;
}
