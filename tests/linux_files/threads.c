/* Threads that take turns, one that never waits, signals of all kinds, and calls that they interrupt. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn;
static __thread long own;

static void *take_turns(void *argument)
{
	long mine = (long)argument;
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&lock);
		while (turn % 4 != mine)
			pthread_cond_wait(&changed, &lock);
		turn++;
		own++;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
	}
	return (void *)own;
}

static volatile int stop;
static volatile long rounds;

static void *never_wait(void *argument)
{
	while (!stop)
		rounds++;
	return argument;
}

static sigjmp_buf back;

static void fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	printf("signal %d, code %d, address %p\n", signal, info->si_code, signal == SIGSEGV ? info->si_addr : NULL);
	siglongjmp(back, 1);
}

static volatile int alarms;

static void count(int signal)
{
	(void)signal;
	alarms++;
}

static void told(int signal, siginfo_t *info, void *context)
{
	(void)context;
	printf("told %d, code %d\n", signal, info->si_code);
}

static void on(int signal, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	sigaction(signal, &action, NULL);
}

int main(void)
{
	pthread_t threads[4], other;
	for (long i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, take_turns, (void *)i);
	for (int i = 0; i < 4; i++) {
		void *result;
		pthread_join(threads[i], &result);
		printf("thread %d: %ld turns\n", i, (long)result);
	}

	pthread_create(&other, NULL, never_wait, NULL);
	/* A busy machine may take its time. One where it never runs ends this program by its limit. */
	struct timespec time = { .tv_nsec = 1000000 };
	while (rounds <= 1000)
		nanosleep(&time, NULL);
	stop = 1;
	pthread_join(other, NULL);
	puts("it ran beside");

	on(SIGSEGV, fault);
	on(SIGFPE, fault);
	on(SIGILL, fault);
	if (!sigsetjmp(back, 1))
		*(volatile int *)0x10 = 1;
	volatile int zero = 0;
	if (!sigsetjmp(back, 1))
		zero = 1 / zero;
	if (!sigsetjmp(back, 1))
		__builtin_trap();

	on(SIGUSR1, told);
	raise(SIGUSR1);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);
	puts("not yet");
	sigprocmask(SIG_UNBLOCK, &set, NULL);

	signal(SIGALRM, count);
	siginterrupt(SIGALRM, 1);
	struct itimerval often = { { 0, 20000 }, { 0, 20000 } }, never = { { 0, 0 }, { 0, 0 } };
	setitimer(ITIMER_REAL, &often, NULL);
	while (alarms < 5)
		zero++;
	puts("alarms came while it computed");
	int slept = usleep(5000000);
	printf("usleep: %d, %s\n", slept, strerror(errno));
	setitimer(ITIMER_REAL, &never, NULL);

	pthread_mutex_lock(&lock);
	clock_gettime(CLOCK_REALTIME, &time);
	time.tv_sec += time.tv_nsec >= 970000000;
	time.tv_nsec = (time.tv_nsec + 30000000) % 1000000000;
	printf("timed wait: %s\n", strerror(pthread_cond_timedwait(&changed, &lock, &time)));
	return 9;
}
