/* Where a program meets its library OS at an odd place. It prints the same on the host and in a VM, and ends with 5. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A CPUID in the middle of another instruction: nobody takes it for one, so it stays what the CPU does. */
__asm__(".globl hidden_in\nhidden_in: .byte 0xb8, 0x0f, 0xa2, 0xc3, 0x90\nret\n");
extern char hidden_in[];

static void cpuid(int hidden, uint32_t leaf, uint32_t subleaf, uint32_t *out) {
    uint64_t a = leaf, b = 0, c = subleaf, d = 0;
    if (hidden)
        __asm__ volatile("lea -128(%%rsp), %%rsp; call *%4; lea 128(%%rsp), %%rsp" : "+a"(a), "+b"(b), "+c"(c), "+d"(d) : "r"(hidden_in + 1));
    else
        __asm__ volatile("mov %%eax, %%eax; cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
    /* Which of the host's CPUs this is. */
    if (leaf == 1) out[1] &= 0xffffff;
    if (leaf == 0xb || leaf == 0x1f || leaf == 0x80000026) out[3] = 0;
    if (leaf == 0x8000001e) memset(out, 0, 16);
}

static void every_cpuid(void) {
    int differ = 0;
    for (int extended = 0; extended < 2; extended++) {
        uint32_t first = extended ? 0x80000000 : 0, last[4];
        cpuid(1, first, 0, last);
        for (uint32_t leaf = first; leaf <= last[0] + 1 && leaf < first + 0x40; leaf++)
            for (uint32_t subleaf = 0; subleaf < 10; subleaf++) {
                uint32_t one[4], other[4];
                cpuid(0, leaf, subleaf, one);
                cpuid(1, leaf, subleaf, other);
                differ += memcmp(one, other, sizeof one) != 0;
            }
    }
    printf("CPUID: %d differ\n", differ);
}

/* Flags of arithmetic and the direction flag over a call, for all values of the former. */
static void flags(void) {
    int lost = 0;
    const uint64_t arithmetic = 0x8d5;
    for (uint64_t bits = 0; bits < 64; bits++) {
        uint64_t flags = (bits & 1) | (bits & 2) << 1 | (bits & 4) << 2 | (bits & 8) << 3 | (bits & 16) << 3 | (bits & 32) << 6;
        for (int down = 0; down < 2; down++) {
            uint64_t before = flags | 0x202 | (down ? 0x400 : 0), after;
            __asm__ volatile("lea -128(%%rsp), %%rsp; push %1; popfq; mov $39, %%eax; syscall; pushfq; pop %0; cld; lea 128(%%rsp), %%rsp"
                             : "=&r"(after) : "r"(before) : "rax", "rcx", "r11", "cc", "memory");
            lost += (after & (arithmetic | 0x400)) != (before & (arithmetic | 0x400));
        }
    }
    printf("flags: %d lost\n", lost);
}

/* A program may say that it is a nested task; a call in which another thread runs returns all the same. */
static volatile int turns;
static void *other(void *none) { turns++; return none; }
static void nested(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, other, NULL);
    __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x4000, (%%rsp); popfq; mov $24, %%eax; syscall; "
                     "pushfq; andq $~0x4000, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::: "rax", "rcx", "r11", "cc", "memory");
    pthread_join(thread, NULL);
    printf("nested: %d\n", turns);
}

static sigjmp_buf back;
static void caught(int signal) { siglongjmp(back, signal); }
static void null_call(void) {
    struct sigaction action = {.sa_handler = caught};
    sigaction(SIGSEGV, &action, NULL);
    void (*volatile nowhere)(void) = NULL;
    int signal = sigsetjmp(back, 1);
    if (!signal) nowhere();
    printf("null: %d\n", signal);
}

/* mov $N, %eax; ret. Code that was never writable, or is not any more, becomes executable. */
static void code(void) {
    static const unsigned char returns[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
    char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *read = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(read, returns, sizeof returns);
    int a = mprotect(none, 4096, PROT_READ | PROT_EXEC), b = mprotect(read, 4096, PROT_READ);
    int c = mprotect(read, 8192, PROT_READ | PROT_EXEC);
    long pid = ((long (*)(void))read)();
    printf("code: %d %d %d %d\n", a, b, c, pid == getpid());
}

static int pipes[2];
static void cleaned(void *none) { (void)none; puts("cleaned"); }
static void *reads(void *none) {
    char byte;
    pthread_cleanup_push(cleaned, NULL);
    if (read(pipes[0], &byte, 1) == 1) puts("a byte");
    pthread_cleanup_pop(0);
    return none;
}
static void cancelled(void) {
    pthread_t thread;
    void *result = NULL;
    if (pipe(pipes)) return;
    pthread_create(&thread, NULL, reads, NULL);
    usleep(50000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    printf("cancelled: %d\n", result == PTHREAD_CANCELED);
}

static void bad_tls(void) {
    static char stack[65536];
    long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS;
    long tid = syscall(SYS_clone, flags, stack + sizeof stack - 64, NULL, NULL, 1ul << 63);
    printf("tls: %d\n", tid < 0 ? errno : 0);
}

/* Bytes of all lengths, from and to all places in a cache line, and none beside them. */
static void copies(void) {
    static unsigned char file[20000], buffer[20000];
    int wrong = 0, fd = open("/tmp/corners", O_RDWR | O_CREAT | O_TRUNC, 0600), zero = open("/dev/zero", O_RDONLY);
    for (size_t i = 0; i < sizeof file; i++) file[i] = i * 167 + (i >> 8);
    wrong += write(fd, file, sizeof file) != sizeof file;
    for (size_t bytes = 0; bytes < 5000; bytes += bytes < 300 ? 1 : 479)
        for (size_t from = 0; from < 72; from += 3)
            for (size_t to = 64; to < 136; to += 5) {
                memset(buffer, 0xee, bytes + 256);
                wrong += pread(fd, buffer + to, bytes, from) != (ssize_t)bytes;
                wrong += memcmp(buffer + to, file + from, bytes) != 0;
                wrong += buffer[to - 1] != 0xee || buffer[to + bytes] != 0xee;
                if (from) continue;
                wrong += read(zero, buffer + to, bytes) != (ssize_t)bytes;
                for (size_t i = 0; i < bytes; i++) wrong += buffer[to + i] != 0;
                wrong += buffer[to - 1] != 0xee || buffer[to + bytes] != 0xee;
            }
    unlink("/tmp/corners");
    printf("copies: %d wrong\n", wrong);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    every_cpuid();
    flags();
    nested();
    null_call();
    code();
    cancelled();
    bad_tls();
    copies();
    return 5;
}
