"""Goldbach's comet: in how many ways is an even number the sum of two primes? The table of primes is made once; a job counts
the ways of ten numbers.
"""

import denali

LIMIT = 20_000_000
FIRST = 2_000_000
NUMBERS = 10
BLOCKS = (LIMIT - FIRST) // (2 * NUMBERS)


def table():
    """Of each odd number 2i + 1, whether it is a prime."""
    primes = bytearray(b"\1") * (LIMIT // 2)
    primes[0] = 0
    for p in range(3, int(LIMIT**0.5) + 1, 2):
        if primes[p // 2]:
            primes[p * p // 2::p] = bytes(len(range(p * p // 2, LIMIT // 2, p)))
    return primes


def ways(number):
    half = number // 2
    # p and number - p lie at places that add up to this.
    places = half - 1
    low = PRIMES[1:(half + 1) // 2]
    high = PRIMES[places - len(low):places][::-1]
    return (int.from_bytes(low, "big") & int.from_bytes(high, "big")).bit_count()


def main(arguments):
    block = int(arguments[0]) if arguments and arguments[0].isdigit() else BLOCKS
    if block >= BLOCKS:
        return f"give the number of a block, below {BLOCKS}"
    total = 0
    with denali.result("ways.csv") as file:
        for i in range(NUMBERS):
            number = FIRST + 2 * (block * NUMBERS + i)
            count = ways(number)
            print(number, count, sep=",", file=file)
            total += count
            denali.progress((i + 1) / NUMBERS)
    print(f"block {block}: {total} ways")


PRIMES = table()
denali.run(main)
