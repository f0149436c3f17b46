/* A file and its shared mapping, in the directory that the first argument names. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void show(const char *when, int fd) {
    char text[32] = "";
    ssize_t count = pread(fd, text, sizeof text - 1, 0);
    printf("%s: %zd %s\n", when, count, text);
}

int main(int count, char **words) {
    if (count < 2 || chdir(words[1]) != 0)
        return 1;
    int fd = open("shared", O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (write(fd, "0123456789", 10) != 10)
        return 2;
    char *map = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return 3;
    memcpy(map, "stored", 6);
    show("stored", fd);
    if (pwrite(fd, "written", 7, 3) != 7)
        return 4;
    printf("written: %.10s\n", map);
    FILE *file = fopen("shared", "a+");
    fprintf(file, "+");
    fflush(file);
    map[9] = '!';
    show("appended", fd);
    printf("cut: %d\n", ftruncate(fd, 4));
    printf("shown: %.10s %d\n", map, map[5]);
    int reader = open("shared", O_RDONLY);
    char *read_only = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0);
    printf("read only: %d %s\n", read_only == MAP_FAILED, strerror(errno));
    map[0] = 'S';
    unlink("shared");
    close(fd);
    fclose(file);
    printf("synced: %d\n", msync(map, 10, MS_SYNC));
    printf("unmapped: %d\n", munmap(map, 10));
    show("left", reader);
    return 7;
}
