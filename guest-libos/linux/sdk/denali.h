/* What a Linux program can tell Denali: how far it is, that it is ready for a job, and which files are its results.
 *
 * The same program runs anywhere else, where these functions do the natural thing. C99 or C++11, and POSIX; there is
 * nothing to link with.
 *
 *                    in a Denali VM                              elsewhere
 *   denali_ready     the VM may be copied here for many jobs;    the program's arguments stay
 *                    the arguments become the job's
 *   denali_progress  is shown where the job was submitted        is drawn on standard error, if that is a terminal
 *   denali_result    a named result of the job                   a file in $DENALI_OUT, else in out
 *   denali_inside    1                                           0
 */
#ifndef DENALI_PROGRAM_H
#define DENALI_PROGRAM_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* What denali_progress told last, in thousandths. */
static int denali_told = -1;

/* Whether the program runs in a Denali VM. */
static inline int denali_inside(void)
{
    return access("/dev/denali", F_OK) == 0;
}

/* Says which part of the job is done: from 0 to 1, beyond which the nearest of both counts. In a VM it reaches whoever
 * waits for the job; what was said before denali_ready, or is less than before, does not. Call it as often as you like:
 * only thousandths count. errno stays as it was. */
static inline void denali_progress(double fraction)
{
    const int permille = fraction >= 1 ? 1000 : fraction > 0 ? (int)(fraction * 1000) : 0, before = errno;
    char text[16];
    int device, length;

    if (__atomic_exchange_n(&denali_told, permille, __ATOMIC_RELAXED) == permille)
        return;
    device = open("/dev/denali/progress", O_WRONLY);
    if (device >= 0) {
        length = snprintf(text, sizeof text, "%d", permille);
        /* That it cannot be told is no error of the program. */
        if (write(device, text, (size_t)length) < 0) { }
        close(device);
    } else if (isatty(2)) {
        length = snprintf(text, sizeof text, "\r%5.1f %%%s", permille / 10.0, permille == 1000 ? "\n" : "");
        if (write(2, text, (size_t)length) < 0) { }
    }
    errno = before;
}

/* Puts the arguments after the program's name, as `text` has them: a zero byte after each. It is theirs from then on. */
static inline int denali_set_arguments(int *argc, char ***argv, char *text, size_t bytes)
{
    size_t count = 1, at;
    char **words;

    for (at = 0; at < bytes; at++)
        count += text[at] == 0;
    words = (char **)malloc((count + 1) * sizeof *words);
    if (!words)
        return -1;
    words[0] = *argc > 0 ? (*argv)[0] : (char *)"";
    for (at = 0, count = 1; at < bytes; at += strlen(text + at) + 1)
        words[count++] = text + at;
    words[count] = NULL;
    *argc = (int)count;
    *argv = words;
    return 0;
}

/* Says that the program is ready for a job, and makes its arguments the job's: give it the addresses of main's own. 0, or
 * -1 with errno.
 *
 * Of a program that was packed with --ready the VM may be copied at this place: what comes before the call runs once for
 * many jobs, what comes after it once for each. So seed random numbers after it, and neither read standard input nor write
 * to standard output or standard error before it: a VM that has done so is not copied, nor one that took more than a second
 * to come here. Elsewhere, and in a VM without --ready, the call returns at once. */
static inline int denali_ready(int *argc, char ***argv)
{
    const int device = open("/dev/denali/ready", O_RDONLY);
    char *text = NULL, *more;
    size_t used = 0, room = 0;
    ssize_t count;

    if (device < 0)
        return errno == ENOENT ? 0 : -1;
    do {
        if (room - used < 512) {
            room = 2 * room + 1024;
            more = (char *)realloc(text, room);
            if (!more) {
                count = -1;
                break;
            }
            text = more;
        }
        count = read(device, text + used, room - used);
        used += count > 0 ? (size_t)count : 0;
    } while (count > 0 || (count < 0 && errno == EINTR));
    close(device);
    if (count < 0 || denali_set_arguments(argc, argv, text, used) < 0) {
        free(text);
        errno = ENOMEM;
        return -1;
    }
    __atomic_store_n(&denali_told, -1, __ATOMIC_RELAXED);
    return 0;
}

/* Whether a result can be called so: a relative path without empty parts, "." and "..". */
static inline int denali_is_name(const char *name)
{
    size_t bytes;

    if (strlen(name) > 255)
        return 0;
    for (;; name += bytes + 1) {
        bytes = strcspn(name, "/");
        if (bytes == 0 || (bytes <= 2 && strncmp(name, "..", bytes) == 0))
            return 0;
        if (name[bytes] == 0)
            return 1;
    }
}

/* Makes a named result of the job, empty to begin with, to write to. A name may have directories: "tables/3.csv". In a VM
 * it is a file below /out, which whoever submitted the job finds below --output-dir once the job ended; elsewhere a file in
 * the directory $DENALI_OUT, or in out where there is no such variable. NULL with errno: EINVAL for a name that no result
 * can have: an absolute one, one with "..", one of more than 255 bytes; else as fopen and mkdir. */
static inline FILE *denali_result(const char *name)
{
    const char *directory = denali_inside() ? "/out" : getenv("DENALI_OUT");
    char path[4096], *at;

    if (!denali_is_name(name)) {
        errno = EINVAL;
        return NULL;
    }
    if ((size_t)snprintf(path, sizeof path, "%s/%s", directory ? directory : "out", name) >= sizeof path) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    for (at = path + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = 0;
        if (mkdir(path, 0777) < 0 && errno != EEXIST)
            return NULL;
        *at = '/';
    }
    return fopen(path, "wb");
}

#endif
