/* The native program that a Denali VM's start is measured against. */
#include <stdio.h>

int main(void)
{
    puts("Hello from a process!");
    return 0;
}
