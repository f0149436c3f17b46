/* The Denali library OS for programs in C. A program defines `int main(int argc, char **argv)`; its result is the job's
 * exit status. There is no libc: these functions, malloc and friends, and memcpy and friends are all there is. */
#ifndef DENALI_H
#define DENALI_H

#include <stddef.h>
#include <stdint.h>

/* Reads up to `length` bytes of the job's input. Gives how many; 0 at its end. */
size_t denali_read(void *buffer, size_t length);

/* Writes to standard output (1) or standard error (2). */
void denali_write(int stream, const void *data, size_t length);

/* Appends to a named output file, which exists from then on. */
void denali_append(const char *name, const void *data, size_t length);

/* Says how far the job is, in thousandths. */
void denali_progress(uint16_t permille);

/* Ends the job with this status. */
_Noreturn void denali_exit(int status);

/* Nanoseconds since the VM's start. */
uint64_t denali_clock_ns(void);

/* Fills `buffer` with random bytes fit for keys. */
void denali_random(void *buffer, size_t length);

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);
void free(void *block);

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *text);

#endif
