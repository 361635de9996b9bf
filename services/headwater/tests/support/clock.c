// Gives a process a wall clock that is HEADWATER_TEST_CLOCK_S seconds off, and leaves every timer as it is. Loaded before
// the C library (LD_PRELOAD). Debian's libfaketime does not know cnd_timedwait, by which librdkafka waits.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>

// A point in time of the wall's clock, not of one that began when the machine did.
static const time_t WALL_MIN_S = 1000000000;

static time_t off_s(void) {
    static time_t off;
    static int known;
    if (!known) {
        const char *text = getenv("HEADWATER_TEST_CLOCK_S");
        off = text ? atol(text) : 0;
        known = 1;
    }
    return off;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, now);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += off_s();
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int code = real(now, zone);
    if (code == 0) now->tv_sec += off_s();
    return code;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    return clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

// Who waits until a time of the wall's clock means the one that it was given.
static struct timespec meant(const struct timespec *until) {
    struct timespec moved = *until;
    if (moved.tv_sec > WALL_MIN_S) moved.tv_sec -= off_s();
    return moved;
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec moved = meant(until);
    return real(cond, mutex, &moved);
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec moved = meant(until);
    return real(cond, mutex, &moved);
}
