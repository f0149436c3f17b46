/* Sorts the lines of its input by their bytes, and writes them to its output; with the argument -r, in reverse. */
#include <denali.h>

struct line {
    const char *text;
    size_t length;
};

static int compare(const struct line *a, const struct line *b)
{
    size_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->text, b->text, shorter);
    if (order != 0)
        return order;
    return (a->length > b->length) - (a->length < b->length);
}

/* Merge sort: stable, and never slow on hostile input. */
static void sort(struct line *lines, struct line *space, size_t count)
{
    size_t left = count / 2, i = 0, j = left, k = 0;
    if (count < 2)
        return;
    sort(lines, space, left);
    sort(lines + left, space, count - left);
    memcpy(space, lines, count * sizeof *lines);
    while (k < count) {
        if (j == count || (i < left && compare(&space[i], &space[j]) <= 0))
            lines[k++] = space[i++];
        else
            lines[k++] = space[j++];
    }
}

/* Reads all of the input into memory that the caller frees. NULL when there is not enough. */
static char *read_all(size_t *length)
{
    size_t room = 64 * 1024, used = 0, got;
    char *text = malloc(room);
    while (text != NULL && (got = denali_read(text + used, room - used)) > 0) {
        used += got;
        if (used == room) {
            char *larger = realloc(text, room *= 2);
            if (larger == NULL)
                free(text);
            text = larger;
        }
    }
    *length = used;
    return text;
}

static int fail(const char *message)
{
    denali_write(2, message, strlen(message));
    return 1;
}

int main(int argc, char **argv)
{
    size_t length, count = 0, start = 0, i;
    int reverse = argc > 1 && strlen(argv[1]) == 2 && memcmp(argv[1], "-r", 2) == 0;
    char *text = read_all(&length);
    if (text == NULL)
        return fail("not enough memory for the input\n");
    for (i = 0; i < length; i++)
        count += text[i] == '\n' || i + 1 == length;
    struct line *lines = calloc(2 * count + 1, sizeof *lines);
    if (lines == NULL)
        return fail("not enough memory for the lines\n");
    count = 0;
    for (i = 0; i < length; i++) {
        if (text[i] == '\n' || i + 1 == length) {
            lines[count].text = text + start;
            lines[count++].length = i + (text[i] != '\n') - start;
            start = i + 1;
        }
    }
    sort(lines, lines + count, count);
    for (i = 0; i < count; i++) {
        const struct line *line = &lines[reverse ? count - 1 - i : i];
        denali_write(1, line->text, line->length);
        denali_write(1, "\n", 1);
    }
    return 0;
}
