# Guests of upcalls.rs. Each lies between `guest_NAME` and `guest_NAME_end`, is copied to the image's base, and goes on into
# what the test puts after it. Addresses are of denali-abi: the control page, and the data segment of the test guests.


.set ENABLED, 0x2010
.set UPCALL_ENTRY, 0x2018
.set FAULT_ENTRY, 0x2020
.set TIMER, 0x2028
.set PERIOD, 0x2030
.set CAUSES, 0x2038
.set AT_RIP, 0x2040
.set AT_FLAGS, 0x2048
.set AT_RSP, 0x2050
.set IN_FAULT, 0x2058
.set FAULT_RIP, 0x2060
.set FAULT_FLAGS, 0x2068
.set FAULT_RSP, 0x2070
.set VECTOR, 0x2078
.set ERROR_CODE, 0x2080
.set ADDRESS, 0x2088

.set RESULT, 0x30003a
.set UPCALL_STACK, 0x310000
.set FAULT_STACK, 0x312000
.set SAVED_CS, 0x312000
.set SAVED_SS, 0x312008
.set DONE, 0x312010
.set VECTORS, 0x313000
.set TERMINATE, 0xd1
.set IDLE, 0xd0

.macro guest name
    .balign 16
    .globl guest_\name
    guest_\name:
.endm

.macro end name
    .globl guest_\name\()_end
    guest_\name\()_end:
.endm

# Upcalls come to `handler` from now on.
.macro arm handler
    mov eax, cs
    mov ds:[SAVED_CS], rax
    mov eax, ss
    mov ds:[SAVED_SS], rax
    lea rax, [rip + \handler]
    mov ds:[UPCALL_ENTRY], rax
    mov qword ptr ds:[ENABLED], 1
.endm

.macro arm_faults handler
    mov eax, cs
    mov ds:[SAVED_CS], rax
    mov eax, ss
    mov ds:[SAVED_SS], rax
    lea rax, [rip + \handler]
    mov ds:[FAULT_ENTRY], rax
.endm

# Continues what was interrupted, by one instruction and with all registers as they are.
.macro resume
    push qword ptr ds:[SAVED_SS]
    push qword ptr ds:[AT_RSP]
    push qword ptr ds:[AT_FLAGS]
    push qword ptr ds:[SAVED_CS]
    push qword ptr ds:[AT_RIP]
    iretq
.endm

.macro resume_fault
    push qword ptr ds:[SAVED_SS]
    push qword ptr ds:[FAULT_RSP]
    push qword ptr ds:[FAULT_FLAGS]
    push qword ptr ds:[SAVED_CS]
    push qword ptr ds:[FAULT_RIP]
    mov qword ptr ds:[IN_FAULT], 0
    iretq
.endm

# A handler that counts in word 0 and gathers causes in word 1.
.macro counting_handler
    mov rsp, UPCALL_STACK
    push rax
    xor eax, eax
    xchg ds:[CAUSES], rax
    or ds:[RESULT + 8], rax
    pop rax
    inc qword ptr ds:[RESULT]
    resume
.endm

# Idles eight times, with a time long past.
guest once
    jmp 1f
handler_once:
    counting_handler
1:  arm handler_once
    mov ebx, 8
3:  xor edi, edi
    out IDLE, eax
    dec ebx
    jnz 3b
end once

# The same, with the timer due too.
guest batched
    jmp 1f
handler_batched:
    counting_handler
1:  mov qword ptr ds:[TIMER], 1
    arm handler_batched
    mov ebx, 8
3:  xor edi, edi
    out IDLE, eax
    dec ebx
    jnz 3b
end batched

# An upcall that arms everything anew and idles takes no upcall; the next comes after it.
guest greedy
    jmp 1f
handler_greedy:
    mov rsp, UPCALL_STACK
    push rax
    push rdi
    inc qword ptr ds:[RESULT]
    inc qword ptr ds:[RESULT + 8]       # how deep
    mov rax, ds:[RESULT + 8]
    cmp rax, ds:[RESULT + 16]
    jbe 4f
    mov ds:[RESULT + 16], rax           # the deepest
4:  xor eax, eax
    xchg ds:[CAUSES], rax
    mov qword ptr ds:[TIMER], 1
    mov qword ptr ds:[ENABLED], 1
    xor edi, edi
    out IDLE, eax
    out IDLE, eax
    dec qword ptr ds:[RESULT + 8]
    pop rdi
    pop rax
    resume
1:  arm handler_greedy
    mov ebx, 8
3:  xor edi, edi
    out IDLE, eax
    dec ebx
    jnz 3b
end greedy

# Spins with known contents of all registers, until 40 upcalls came. Word 1 is set to what did not match.
guest context
    jmp 1f
handler_context:
    mov rsp, UPCALL_STACK
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov eax, 3
    xor edx, edx
    xsave64 ds:[VECTORS]
    pcmpeqd xmm0, xmm0
    pcmpeqd xmm7, xmm7
    pcmpeqd xmm15, xmm15
    fninit
    fldpi
    xor eax, eax
    xchg ds:[CAUSES], rax
    mov rax, -1
    mov rcx, rax
    mov rdx, rax
    mov rbx, rax
    mov rbp, rax
    mov rsi, rax
    mov rdi, rax
    mov r8, rax
    mov r9, rax
    mov r10, rax
    mov r11, rax
    mov r12, rax
    mov r13, rax
    mov r14, rax
    mov r15, rax
    inc qword ptr ds:[RESULT]
    mov eax, 3
    xor edx, edx
    xrstor64 ds:[VECTORS]
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    resume
1:  arm handler_context
    mov qword ptr ds:[PERIOD], 1000000
    mov qword ptr ds:[TIMER], 1
    xor edi, edi
    out IDLE, eax
    mov qword ptr [rsp - 8], 0x5a5a
    mov qword ptr [rsp - 128], 0x5b5b
    mov rax, 0x123456789000
    wrfsbase rax
    wrgsbase rax
3:  mov rax, 0x1111111111111111
    movq xmm0, rax
    movq xmm7, rax
    movq xmm15, rax
    fninit
    fld1
    mov rdx, 0x2222222222222222
    mov rbx, 0x3333333333333333
    mov rbp, 0x4444444444444444
    mov rsi, 0x5555555555555555
    mov rdi, 0x6666666666666666
    mov r8, 0x7777777777777777
    mov r9, 0x8888888888888888
    mov r10, 0x9999999999999999
    mov r11, 0xaaaaaaaaaaaaaaaa
    mov r12, 0xbbbbbbbbbbbbbbbb
    mov r13, 0xcccccccccccccccc
    mov r14, 0xdddddddddddddddd
    mov r15, 0xeeeeeeeeeeeeeeee
    mov ecx, 100000
    lea rsp, [rsp - 256]
    push 0xcd5                          # all the flags of arithmetic and the direction
    popfq
    lea rsp, [rsp + 256]
    # Neither changes a flag.
4:  lea rcx, [rcx - 1]
    jrcxz 5f
    jmp 4b
5:  lea rsp, [rsp - 256]
    pushfq
    cld
    pop rcx
    lea rsp, [rsp + 256]
    and ecx, 0x200cd5
    mov ds:[RESULT + 24], rcx
    mov rcx, 0x1111111111111111
    cmp rax, rcx
    jne 8f
    movq rax, xmm0
    cmp rax, rcx
    jne 8f
    movq rax, xmm7
    cmp rax, rcx
    jne 8f
    movq rax, xmm15
    cmp rax, rcx
    jne 8f
    fld1
    fcompp
    fnstsw ax
    and eax, 0x4500
    cmp eax, 0x4000
    jne 8f
    mov rax, rcx
    lea rcx, [rax + rax]
    cmp rdx, rcx
    jne 8f
    add rcx, rax
    cmp rbx, rcx
    jne 8f
    add rcx, rax
    cmp rbp, rcx
    jne 8f
    add rcx, rax
    cmp rsi, rcx
    jne 8f
    add rcx, rax
    cmp rdi, rcx
    jne 8f
    add rcx, rax
    cmp r8, rcx
    jne 8f
    add rcx, rax
    cmp r9, rcx
    jne 8f
    add rcx, rax
    cmp r10, rcx
    jne 8f
    add rcx, rax
    cmp r11, rcx
    jne 8f
    add rcx, rax
    cmp r12, rcx
    jne 8f
    add rcx, rax
    cmp r13, rcx
    jne 8f
    add rcx, rax
    cmp r14, rcx
    jne 8f
    add rcx, rax
    cmp r15, rcx
    jne 8f
    mov rcx, 0x123456789000
    rdfsbase rax
    cmp rax, rcx
    jne 8f
    rdgsbase rax
    cmp rax, rcx
    jne 8f
    cmp rsp, 0x200000
    jne 8f
    cmp qword ptr [rsp - 8], 0x5a5a
    jne 8f
    cmp qword ptr [rsp - 128], 0x5b5b
    jne 8f
    cmp qword ptr ds:[RESULT + 24], 0xcd5
    jne 8f
    cmp qword ptr ds:[RESULT], 40
    jb 3b
    jmp 9f
8:  mov qword ptr ds:[RESULT + 8], 1
9:  mov qword ptr ds:[ENABLED], 0
end context

# Spins for 200 ms of the clock, with the timer's period in R15.
guest cadence
    jmp 1f
handler_cadence:
    counting_handler
1:  arm handler_cadence
    mov ds:[PERIOD], r15
    mov qword ptr ds:[TIMER], 1
    mov rax, ds:[0x1040]                # frequency of the time-stamp counter
    xor edx, edx
    mov ecx, 5
    div rcx
    mov rbx, rax
    xor edi, edi
    out IDLE, eax
    rdtsc
    shl rdx, 32
    or rax, rdx
    add rbx, rax
3:  rdtsc
    shl rdx, 32
    or rax, rdx
    cmp rax, rbx
    jb 3b
    mov qword ptr ds:[ENABLED], 0
end cadence

# Counts bytes of input in upcalls alone, until the input's end. Upcalls are disabled and enabled all the time.
guest packets
    jmp 1f
handler_packets:
    mov rsp, UPCALL_STACK
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    inc qword ptr ds:[RESULT]
    xor eax, eax
    xchg ds:[CAUSES], rax
4:  mov rsi, ds:[0x2008]                # tail
    cmp rsi, ds:[0x10a0]                # head
    je 6f
    mov rdx, ds:[0x1090]                # the ring's size
    dec rdx
    mov rdi, rsi
    and rdi, rdx
    add rdi, ds:[0x1088]                # the ring
    mov ecx, [rdi]
    lea rax, [rsi + 50]
    and rax, rdx
    add rax, ds:[0x1088]
    mov al, [rax]                       # the message's kind
    cmp al, 2
    jne 5f
    add ds:[RESULT + 8], rcx
    sub qword ptr ds:[RESULT + 8], 50
5:  cmp al, 3
    jne 7f
    mov qword ptr ds:[DONE], 1
7:  add rcx, 15
    and rcx, -8
    add rsi, rcx
    mov ds:[0x2008], rsi
    jmp 4b
6:  pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    resume
1:  arm handler_packets
    mov r12d, 1
3:  mov qword ptr ds:[ENABLED], 0
    # A while, each time another.
    imul r12, r12, 1103515245
    add r12, 12345
    mov ecx, r12d
    shr ecx, 10
4:  dec ecx
    jnz 4b
    cmp qword ptr ds:[DONE], 0
    jne 9f
    mov qword ptr ds:[ENABLED], 1
    mov rdi, -1
    out IDLE, eax
    jmp 3b
9:
end packets

# Divides by zero, and goes on after the instruction. Words: vector, error code, address, RIP, RBX, FS base.
guest divide
    jmp 1f
handler_divide:
    mov rsp, FAULT_STACK
    push rax
    mov rax, ds:[VECTOR]
    mov ds:[RESULT], rax
    mov rax, ds:[ERROR_CODE]
    mov ds:[RESULT + 8], rax
    mov rax, ds:[ADDRESS]
    mov ds:[RESULT + 16], rax
    mov rax, ds:[FAULT_RIP]
    mov ds:[RESULT + 24], rax
    mov ds:[RESULT + 32], rbx
    rdfsbase rax
    mov ds:[RESULT + 40], rax
    pushfq
    pop rax
    mov ds:[RESULT + 48], rax
    add qword ptr ds:[FAULT_RIP], 3
    pop rax
    resume_fault
1:  arm_faults handler_divide
    mov rbx, 0x123456789abc
    wrfsbase rbx
    xor ecx, ecx
    stc
    std
    div rcx
    pushfq
    cld
    pop rax
    mov ds:[RESULT + 56], rax
    mov ds:[RESULT + 64], rbx
end divide

# Two system calls, served: RCX and R11 are as `syscall` leaves them, all else is as it was, and RAX the answer.
guest served
    jmp 1f
handler_served:
    mov ds:[RESULT + 24], rsp
    mov rsp, FAULT_STACK
    mov rax, ds:[VECTOR]
    add ds:[RESULT], rax
    mov rax, ds:[FAULT_RIP]
    sub rax, rcx
    or ds:[RESULT + 8], rax
    lea rax, [rdi + 100]
    resume_fault
1:  arm_faults handler_served
    mov edi, 7
    mov eax, 39
    stc
    syscall
    setc bl
    movzx ebx, bl
    mov ds:[RESULT + 32], rbx
    mov ds:[RESULT + 16], rax
    sub ds:[RESULT + 24], rsp
    mov edi, 20
    syscall
    add ds:[RESULT + 16], rax
    sub ds:[RESULT + 24], rsp
end served

# Reads what is not mapped, writes what is not writable, executes what does not exist, and what is privileged; a bit of
# word 0 for each vector.
guest kinds
    jmp 1f
handler_kinds:
    mov rsp, FAULT_STACK
    push rax
    push rcx
    mov rcx, ds:[VECTOR]
    mov eax, 1
    shl rax, cl
    or ds:[RESULT], rax
    mov rax, ds:[ADDRESS]
    or ds:[RESULT + 8], rax
    cmp ecx, 3
    je 2f
    mov ds:[FAULT_RIP], rbx             # where to go on
2:  pop rcx
    pop rax
    resume_fault
1:  arm_faults handler_kinds
    lea rbx, [rip + 2f]
    mov rax, ds:[0x8]
2:  lea rbx, [rip + 2f]
    mov ds:[0x1000], rax
2:  lea rbx, [rip + 2f]
    ud2
2:  lea rbx, [rip + 2f]
    hlt
2:  lea rbx, [rip + 2f]
    mov rax, 0x8000000000000000
    mov rax, [rax]
2:  lea rbx, [rip + 2f]
    mov rcx, 0x8000000000000000
    mov rax, ss:[rbp + rcx]
2:  lea rbx, [rip + 2f]
    mov eax, 0x4000
    jmp rax
2:  lea rbx, [rip + 2f]
    int3
2:
end kinds

# Faults and upcalls at once: counts upcalls in word 0, faults in word 2, and as many instructions at fault in word 3.
guest both
    jmp 1f
handler_both:
    counting_handler
fault_both:
    mov rsp, FAULT_STACK
    inc qword ptr ds:[RESULT + 16]
    add qword ptr ds:[FAULT_RIP], 2
    resume_fault
1:  arm_faults fault_both
    arm handler_both
    mov qword ptr ds:[PERIOD], 1
    mov qword ptr ds:[TIMER], 1
    xor edi, edi
    out IDLE, eax
    mov r15d, 4000
3:  inc qword ptr ds:[RESULT + 24]
    ud2
    dec r15
    jnz 3b
    mov qword ptr ds:[ENABLED], 0
end both

# The handler faults before it is done.
guest twice
    jmp 1f
handler_twice:
    ud2
1:  arm_faults handler_twice
    xor ecx, ecx
    div rcx
end twice

# The fault entry is the faulting instruction.
guest circle
    lea rax, [rip + 1f]
    mov ds:[FAULT_ENTRY], rax
1:  ud2
end circle

# The same, acknowledged each time.
guest orbit
    lea rax, [rip + 1f]
    mov ds:[FAULT_ENTRY], rax
1:  mov qword ptr ds:[IN_FAULT], 0
    ud2
end orbit

# Ends with status 9 when told that it is about to be stopped.
guest stopping
    jmp 1f
handler_stopping:
    mov rsp, UPCALL_STACK
    push rax
    xor eax, eax
    xchg ds:[CAUSES], rax
    test al, 8
    jz 3f
    mov edi, 9
    out TERMINATE, eax
3:  pop rax
    resume
1:  arm handler_stopping
end stopping

# Ends with status 3 if anything but zero is in the control words after the causes' own, else arms everything.
guest leftovers
    mov rsi, 0x2000
    mov ecx, 18
    xor eax, eax
1:  or rax, [rsi]
    add rsi, 8
    dec ecx
    jnz 1b
    mov rdi, 3
    test rax, rax
    jnz 2f
    lea rax, [rip + 3f]
    mov ds:[UPCALL_ENTRY], rax
    mov ds:[FAULT_ENTRY], rax
    mov qword ptr ds:[PERIOD], 1000000
    mov qword ptr ds:[TIMER], 1
    mov qword ptr ds:[ENABLED], 1
    xor edi, edi
    out IDLE, eax
3:  xor edi, edi
2:  out TERMINATE, eax
end leftovers

# With upcalls disabled: takes the first causes itself, and idles until the timer is due. Word 1: the causes then.
guest masked
    jmp 1f
handler_masked:
    counting_handler
1:  arm handler_masked
    mov qword ptr ds:[ENABLED], 0
    mov qword ptr ds:[TIMER], 200000000
    mov rdi, -1
    out IDLE, eax
    xor eax, eax
    xchg ds:[CAUSES], rax
    out IDLE, eax
    xor eax, eax
    xchg ds:[CAUSES], rax
    mov ds:[RESULT + 8], rax
end masked

# As many upcalls as R15 says, each made by an IDLE with the timer due: what one costs.
guest cost
    jmp 1f
handler_cost:
    counting_handler
1:  arm handler_cost
3:  mov qword ptr ds:[TIMER], 1
    xor edi, edi
    out IDLE, eax
    dec r15
    jnz 3b
end cost

# Reads the time-stamp counter over and over, with the timer due each millisecond, and keeps from word 2 on how long it was
# away each of 400 times: more than 4096 ticks at once. Word 0 counts upcalls.
guest away
    jmp 1f
handler_away:
    counting_handler
1:  arm handler_away
    mov qword ptr ds:[PERIOD], 1000000
    mov qword ptr ds:[TIMER], 1
    xor edi, edi
    out IDLE, eax
    mov r15d, 400
    mov edi, RESULT + 16
    rdtsc
    shl rdx, 32
    lea rsi, [rax + rdx]
3:  rdtsc
    shl rdx, 32
    add rax, rdx
    mov rcx, rax
    sub rcx, rsi
    mov rsi, rax
    cmp rcx, 4096
    jb 3b
    mov [rdi], rcx
    add rdi, 8
    dec r15
    jnz 3b
    mov qword ptr ds:[ENABLED], 0
    mov rax, ds:[0x1040]
    mov ds:[RESULT + 8], rax
end away

# As many IDLEs as R15 says.
guest plain
3:  xor edi, edi
    out IDLE, eax
    dec r15
    jnz 3b
end plain

# As many page faults as R15 says.
guest fault_cost
    jmp 1f
handler_fault_cost:
    mov rsp, FAULT_STACK
    add qword ptr ds:[FAULT_RIP], 2
    resume_fault
1:  arm_faults handler_fault_cost
3:  ud2
    dec r15
    jnz 3b
end fault_cost

# As many `iretq` as R15 says. Words: ticks of the counter, CS, SS.
guest iretq_cost
    mov eax, cs
    mov r8, rax
    mov eax, ss
    mov r9, rax
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov rbx, rax
    mov rsi, rsp
3:  push r9
    push rsi
    pushfq
    push r8
    lea rax, [rip + 4f]
    push rax
    iretq
4:  dec r15
    jnz 3b
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, rbx
    mov ds:[RESULT], rax
    mov ds:[RESULT + 8], r8
    mov ds:[RESULT + 16], r9
end iretq_cost

