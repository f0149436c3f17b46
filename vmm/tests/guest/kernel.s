# Guests of kernel.rs, that mean the isolation kernel harm. Each lies between `guest_NAME` and `guest_NAME_end`, is copied to
# the image's base, and finds its parameters in R14 and R15.

.set MEMORY_BYTES, 0x1020
.set HEAP_START, 0x1028
.set TSC_BASE, 0x1048
.set TSC_TO_NS, 0x1050

.set IDLE, 0xd0
.set TERMINATE, 0xd1
.set KICK, 0xd2
.set PROTECT, 0xd3
.set CHECKPOINT, 0xd4

.macro guest name
    .balign 16
    .globl guest_\name
    guest_\name:
.endm

.macro end name
    .globl guest_\name\()_end
    guest_\name\()_end:
.endm

# IDLE until R15 ns from now.
.macro idle_for_r15
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, ds:[TSC_BASE]
    mul qword ptr ds:[TSC_TO_NS]
    shrd rax, rdx, 32
    add rax, r15
    mov rdi, rax
    out IDLE, eax
.endm

# IDLEs until R15 of its clock, for ever.
guest idler
1:  mov rdi, r15
    out IDLE, eax
    jmp 1b
end idler

# IDLEs for R15 ns, for ever.
guest flapper
1:  idle_for_r15
    jmp 1b
end flapper

# Computes for R14 rounds and IDLEs until something comes, for ever.
guest grinder
1:  mov rcx, r14
2:  dec rcx
    jnz 2b
    mov rdi, -1
    out IDLE, eax
    jmp 1b
end grinder

# Kicks for ever.
guest kicker
1:  out KICK, eax
    jmp 1b
end kicker

# Computes for R15 rounds, then asks for R14 copies, then ends.
guest copier
    jmp 2f
1:  dec r15
2:  test r15, r15
    jnz 1b
3:  out CHECKPOINT, eax
    dec r14
    jnz 3b
    xor edi, edi
    out TERMINATE, eax
end copier

# Takes all rights from all of its heap and gives them back, for ever.
guest protector
1:  mov rdi, ds:[HEAP_START]
    mov rsi, ds:[MEMORY_BYTES]
    sub rsi, rdi
    xor edx, edx
    out PROTECT, eax
    mov edx, 3
    out PROTECT, eax
    jmp 1b
end protector

# Writes to each page of its heap and IDLEs for R15 ns, R14 times; then ends. With status 1 if it finds a page other than
# it left it.
guest dirtier
    xor ebx, ebx                    # what it left
1:  lea rcx, [rbx + 1]
    mov rdi, ds:[HEAP_START]
2:  mov rax, [rdi]
    test rbx, rbx
    jz 3f
    sub rax, rdi
    cmp rax, rbx
    jne 4f
3:  lea rax, [rdi + rcx]
    mov [rdi], rax
    add rdi, 4096
    cmp rdi, ds:[MEMORY_BYTES]
    jb 2b
    mov rbx, rcx
    idle_for_r15
    dec r14
    jnz 1b
    xor edi, edi
    out TERMINATE, eax
4:  mov edi, 1
    out TERMINATE, eax
end dirtier
