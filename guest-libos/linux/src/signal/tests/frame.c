// What the kernel and the C library of this host make of signal frames, for the test beside this file.
#define _GNU_SOURCE
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

static char stack[65536];

static void hex(const char *name, const unsigned char *bytes, size_t count) {
    printf("%s ", name);
    for (size_t i = 0; i < count; i++) printf("%02x", bytes[i]);
    printf("\n");
}

// The frame is what the handler's return address is the first word of.
static void handler(int number, siginfo_t *info, void *context) {
    unsigned char *frame = (unsigned char *)context - 8;
    ucontext_t *uc = context;
    const unsigned char *extended = (const unsigned char *)uc->uc_mcontext.fpregs;
    uint32_t bytes;
    (void)number, (void)info;
    memcpy(&bytes, extended + 464 + 4, 4);
    printf("at %lu\nextended_at %lu\n", (unsigned long)frame, (unsigned long)extended);
    hex("frame", frame, 440);
    hex("extended", extended, bytes);
    fflush(stdout);
    _exit(0);
}

static void offsets(void) {
#define OFFSET(field) printf("%s %zu\n", #field, offsetof(ucontext_t, field))
    OFFSET(uc_flags);
    OFFSET(uc_link);
    OFFSET(uc_stack);
    OFFSET(uc_mcontext.gregs);
    OFFSET(uc_mcontext.gregs[REG_RSP]);
    OFFSET(uc_mcontext.gregs[REG_RIP]);
    OFFSET(uc_mcontext.gregs[REG_EFL]);
    OFFSET(uc_mcontext.gregs[REG_CR2]);
    OFFSET(uc_mcontext.fpregs);
    OFFSET(uc_sigmask);
    printf("si_code %zu\nsi_addr %zu\nsi_value %zu\nsi_overrun %zu\nsiginfo %zu\n", offsetof(siginfo_t, si_code),
           offsetof(siginfo_t, si_addr), offsetof(siginfo_t, si_value), offsetof(siginfo_t, si_overrun), sizeof(siginfo_t));
    printf("stack_t %zu\nss_flags %zu\nss_size %zu\n", sizeof(stack_t), offsetof(stack_t, ss_flags), offsetof(stack_t, ss_size));
}

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "offsets")) return offsets(), 0;
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    if (!strcmp(what, "altstack")) sigaltstack(&alternate, NULL);
    if (!strcmp(what, "fault")) *(volatile int *)0x1234 = 1;
    raise(SIGUSR1);
}
