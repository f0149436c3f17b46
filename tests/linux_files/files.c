/* Standard I/O, directories, pipes and poll of a C library, in the directory that the first argument names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <unistd.h>

static void input(void) {
    char line[64];
    for (int n = 1; fgets(line, sizeof line, stdin); n++)
        printf("line %d: %s", n, line);
}

static void numbers(void) {
    FILE *file = fopen("numbers", "w+");
    for (int i = 0; i < 5000; i++)
        fprintf(file, "%d\n", i);
    rewind(file);
    long sum = 0;
    for (int i; fscanf(file, "%d", &i) == 1;)
        sum += i;
    fseek(file, -5, SEEK_END);
    char last[8];
    printf("sum %ld, last %s", sum, fgets(last, sizeof last, file));
    fclose(file);
    struct stat status;
    if (!stat("numbers", &status))
        printf("%ld bytes\n", (long)status.st_size);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void directories(void) {
    mkdir("d", 0700);
    for (char path[] = "d/a"; path[2] < 'f'; path[2]++)
        close(creat(path, 0600));
    printf("rename %d\n", rename("d/a", "d/z"));
    printf("unlink %d\n", unlink("d/b"));
    printf("symlink %d\n", symlink("z", "d/link"));
    struct dirent **names;
    int count = scandir("d", &names, 0, by_name);
    for (int i = 0; i < count; i++)
        printf("%s ", names[i]->d_name);
    printf("\nrmdir: %s\n", rmdir("d") ? strerror(errno) : "done");
}

static void waiting(void) {
    int ends[2];
    printf("pipe %d\n", pipe(ends));
    struct pollfd file = {ends[0], POLLIN, 0};
    printf("poll %d\n", poll(&file, 1, 10));
    printf("write %zd\n", write(ends[1], "text", 4));
    printf("poll %d, events %d\n", poll(&file, 1, -1), file.revents);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    printf("select %d\n", select(ends[0] + 1, &set, 0, 0, 0));
    close(ends[1]);
    char buffer[8];
    printf("read %zd\n", read(ends[0], buffer, 8));
    printf("then %zd\n", read(ends[0], buffer, 8));
}

int main(int count, char **arguments) {
    if (count < 3 || chdir(arguments[1]))
        return 99;
    input();
    numbers();
    directories();
    waiting();
    if (!fopen("nothing", "r"))
        fprintf(stderr, "nothing: %s\n", strerror(errno));
    return atoi(arguments[2]);
}
