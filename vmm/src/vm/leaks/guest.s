# The guest of the leak suite. It first stores all of its virtual CPU, then does what the first bytes of its first argument
# say: 'R' reads and reports everything that it can see; 'W' and 'w' write everything that a guest can write, all pages or
# every eighth, and end as the second byte says; 'T' writes to the program, which must fault.
#
# It has no stack until it has stored where its stack pointer was. Nothing here may depend on where it was assembled: it is
# copied to the start of a page of its image.

.equ REGISTERS, {registers}
.equ CONTROL, {control}
.equ STACK_BOTTOM, {stack_bottom}
.equ TEXT, {text}
.equ SPARE, {spare}
.equ SAVE, {save}
.equ TABLE, {table}
.equ TABLE_END, {table_end}
.equ BSS, {bss}

# A page of the stack that may only be read after a CHECKPOINT.
.equ READ_ONLY, STACK_BOTTOM + 0x5000

# Places in the page at SAVE.
.equ FLAGS_AT, SAVE + {flags}
.equ BASES_AT, SAVE + {bases}
.equ SELECTORS_AT, SAVE + {selectors}
.equ XCR0_AT, SAVE + {xcr0}
.equ FOUND_AT, SAVE + {found}
.equ TABLE_WAS_AT, SAVE + {table_was}
.equ REST_WAS_AT, SAVE + {rest_was}
.equ WINDOW_WAS_AT, SAVE + {window_was}
.equ EXTENDED_AT, SAVE + {extended}
.equ SEEN_AT, SAVE + {seen}
.equ STACK_AT, SAVE + 0xf00
.equ TARGET_AT, SAVE + 0xf00
.equ KEY_AT, SAVE + 0xf40
.equ MXCSR_AT, SAVE + 0xf80
.equ FCW_AT, SAVE + 0xf88

# Stores the virtual CPU at SAVE.
.macro store_cpu
    mov qword ptr [SAVE + 0], rax
    mov qword ptr [SAVE + 8], rcx
    mov qword ptr [SAVE + 16], rdx
    mov qword ptr [SAVE + 24], rbx
    mov qword ptr [SAVE + 32], rsp
    mov qword ptr [SAVE + 40], rbp
    mov qword ptr [SAVE + 48], rsi
    mov qword ptr [SAVE + 56], rdi
    mov qword ptr [SAVE + 64], r8
    mov qword ptr [SAVE + 72], r9
    mov qword ptr [SAVE + 80], r10
    mov qword ptr [SAVE + 88], r11
    mov qword ptr [SAVE + 96], r12
    mov qword ptr [SAVE + 104], r13
    mov qword ptr [SAVE + 112], r14
    mov qword ptr [SAVE + 120], r15
    mov esp, STACK_AT
    pushfq
    pop rax
    mov qword ptr [FLAGS_AT], rax
    push 2
    popfq
    rdfsbase rax
    mov qword ptr [BASES_AT], rax
    rdgsbase rax
    mov qword ptr [BASES_AT + 8], rax
    mov eax, ds
    mov qword ptr [SELECTORS_AT], rax
    mov eax, es
    mov qword ptr [SELECTORS_AT + 8], rax
    mov eax, fs
    mov qword ptr [SELECTORS_AT + 16], rax
    mov eax, gs
    mov qword ptr [SELECTORS_AT + 24], rax
    mov eax, ss
    mov qword ptr [SELECTORS_AT + 32], rax
    mov eax, cs
    mov qword ptr [SELECTORS_AT + 40], rax
    read_xcr0
    mov eax, -1
    mov edx, -1
    xsave64 [EXTENDED_AT]
.endm

.macro read_xcr0
    xor ecx, ecx
    xgetbv
    mov dword ptr [XCR0_AT], eax
    mov dword ptr [XCR0_AT + 4], edx
.endm

# Fills the virtual CPU with a key: all that code at CPL 3 can write.
.macro fill_cpu key, mxcsr, fcw
    mov rax, \key
    .irp n, 0, 8, 16, 24, 32, 40, 48, 56
    mov qword ptr [KEY_AT + \n], rax
    .endr
    mov dword ptr [MXCSR_AT], \mxcsr
    ldmxcsr dword ptr [MXCSR_AT]
    # Nine numbers are one too many: an exception is left pending once the control word lets it through.
    fninit
    .rept 9
    fild qword ptr [KEY_AT]
    .endr
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    movq mm\n, qword ptr [KEY_AT]
    .endr
    mov dword ptr [FCW_AT], \fcw
    fldcw word ptr [FCW_AT]
    test byte ptr [XCR0_AT], 4
    jz 2f
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovdqu ymm\n, ymmword ptr [KEY_AT]
    .endr
    mov al, byte ptr [XCR0_AT]
    and al, 0xe0
    cmp al, 0xe0
    jne 3f
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovdqu64 zmm\n, zmmword ptr [KEY_AT]
    .endr
    .irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovdqu64 zmm\n, zmmword ptr [KEY_AT]
    .endr
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    kmovw k\n, word ptr [KEY_AT]
    .endr
    jmp 3f
2:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movups xmm\n, xmmword ptr [KEY_AT]
    .endr
3:
    # Protection keys, but for that of all pages.
    test byte ptr [XCR0_AT + 1], 2
    jz 5f
    mov eax, 0xfffffffc
    xor ecx, ecx
    xor edx, edx
    wrpkru
5:
    # Another selector than there is: SS's, or none. Their numbers are the host's own on software KVM.
    mov eax, ss
    mov ecx, ds
    cmp eax, ecx
    jne 4f
    xor eax, eax
4:
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov rax, \key
    wrfsbase rax
    wrgsbase rax
    # CF, PF, AF, ZF, SF, DF, OF, NT, AC, ID
    push 0x244cd5
    popfq
    .irp r, rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
    mov \r, \key
    .endr
.endm

# PROTECT of a page.
.macro protect address, rights
    xor r10d, r10d
    mov rdi, \address
    mov esi, 0x1000
    mov edx, \rights
    out 0xd3, eax
.endm

# PROTECT of a page that is to be somewhere else.
.macro map address, rights, page
    mov r10, \page
    mov rdi, \address
    mov esi, 0x1000
    mov edx, \rights
    out 0xd3, eax
.endm

.pushsection .rodata.denali_leaks, "a"
.balign 16
.globl denali_leaks_guest
denali_leaks_guest:
    store_cpu
    cmp dword ptr [REGISTERS + {checkpoint_wanted}], 0
    je denali_leaks_wait
    cmp byte ptr [TEXT + {makes_checkpoints}], 0
    je denali_leaks_wait
    # What a warm start must come back to: memory, rights and CPU unlike those at the entry point.
    mov rbx, qword ptr [REGISTERS + {heap_start}]
    mov rax, {checkpoint_key}
    mov qword ptr [rbx], rax
    mov qword ptr [rbx + 0x40008], rax
    mov qword ptr [BSS + 16], rax
    protect READ_ONLY, 1
    fill_cpu {checkpoint_key}, 0x3f80, 0x027f
    out 0xd4, eax
    store_cpu

denali_leaks_wait:
    cmp qword ptr [REGISTERS + {receive_head}], 0
    jne 7f
    mov rdi, -1
    out 0xd0, eax
    jmp denali_leaks_wait
7:
    mov rbx, qword ptr [REGISTERS + {receive_ring}]
    mov r13, qword ptr [REGISTERS + {memory_bytes}]
    movzx eax, byte ptr [rbx + {argument}]
    cmp al, 'R'
    je denali_leaks_read
    cmp al, 'T'
    jne denali_leaks_write
    mov byte ptr [SPARE], 1
    mov edi, 1
    out 0xd1, eax

denali_leaks_read:
    # The virtual registers before the clock goes on.
    mov esi, REGISTERS
    mov edi, SEEN_AT
    mov ecx, {registers_bytes} / 8
    rep movsq
    mov ecx, (4096 - {registers_bytes}) / 8
    call denali_leaks_or
    mov qword ptr [REST_WAS_AT], rax
    mov esi, TABLE
    mov ecx, (TABLE_END - TABLE) / 8
    call denali_leaks_or
    mov qword ptr [TABLE_WAS_AT], rax
    # The frame's destination is the VM's own address, which every VM has another of.
    mov dword ptr [rbx + 8], 0
    mov word ptr [rbx + 12], 0
    xor r9d, r9d
    mov r8, {pattern}
    mov r11, 0x100000001b3
    mov esi, CONTROL
    call denali_leaks_digest
    mov esi, STACK_BOTTOM
2:
    cmp rsi, SAVE
    je 4f
    call denali_leaks_digest
    cmp rsi, TEXT
    jb 3f
    cmp rsi, SAVE
    jb 5f
3:
    # Readable is not enough: rights left by another guest show as a fault here.
    cmp rsi, READ_ONLY
    je 5f
    mov al, byte ptr [rsi]
    mov byte ptr [rsi], al
    jmp 5f
4:
    mov esi, TABLE_END - 0x1000
5:
    add rsi, 0x1000
    cmp rsi, r13
    jb 2b
    mov qword ptr [FOUND_AT], r9
    # In the window there should be nothing, and so a fault.
    lea rax, [rip + denali_leaks_report]
    mov qword ptr [CONTROL + {fault_entry}], rax
    mov rbx, {window}
    mov al, byte ptr [rbx]
    mov qword ptr [WINDOW_WAS_AT], 1
denali_leaks_report:
    mov rdi, qword ptr [REGISTERS + {transmit_ring}]
    mov esi, TEXT + {long_record}
    mov ecx, {record_start}
    rep movsb
    mov esi, SAVE
    mov ecx, TABLE_END - SAVE
    rep movsb
    mov qword ptr [CONTROL], {long_record_bytes}
    xor edi, edi
    out 0xd1, eax

# All words from RSI, ECX of them, in one: zero if all are.
denali_leaks_or:
    xor eax, eax
7:
    or rax, qword ptr [rsi]
    add rsi, 8
    dec ecx
    jnz 7b
    ret

# Digests the page at RSI into the table, and counts words of the pattern in R9.
denali_leaks_digest:
    mov rax, 0xcbf29ce484222325
    mov rdi, rsi
    mov ecx, 512
7:
    mov rdx, qword ptr [rdi]
    xor ebp, ebp
    cmp rdx, r8
    sete bpl
    add r9, rbp
    xor rax, rdx
    imul rax, r11
    rol rax, 23
    add rdi, 8
    dec ecx
    jnz 7b
    mov rdi, rsi
    shr rdi, 12
    mov qword ptr [TABLE + 8 * rdi], rax
    ret

denali_leaks_write:
    movzx r15d, byte ptr [rbx + {argument} + 1]
    xor r8d, r8d
    cmp al, 'W'
    je 7f
    mov r8d, 7
7:
    mov r12, qword ptr [REGISTERS + {heap_start}]
    protect READ_ONLY, 3
    mov rax, {pattern}
    mov esi, STACK_BOTTOM
2:
    cmp rsi, TEXT
    jb 3f
    cmp rsi, SAVE
    jb 4f
3:
    mov rcx, rsi
    shr rcx, 12
    test rcx, r8
    jnz 4f
    mov rdi, rsi
    mov ecx, 512
    rep stosq
4:
    add rsi, 0x1000
    cmp rsi, r13
    jb 2b
    # Not the positions: the VMM may look at them at any time.
    mov edi, CONTROL + 16
    mov ecx, 510
    rep stosq
    # Nor upcalls and faults, which would lead nowhere.
    mov qword ptr [CONTROL + {interrupts_enabled}], 0
    mov qword ptr [CONTROL + {upcall_entry}], 0
    mov qword ptr [CONTROL + {fault_entry}], 0
    # Rights that the image does not give, and contents where the image allows none.
    protect SPARE, 3
    mov edi, SPARE
    mov rax, {pattern}
    mov ecx, 512
    rep stosq
    protect STACK_BOTTOM, 1
    protect READ_ONLY, 0
    protect BSS, 0
    lea rbx, [r12 + 0x10000]
    protect rbx, 0
    add rbx, 0x1000
    protect rbx, 1
    add rbx, 0x1000
    protect rbx, 4
    # Pages in the window: two of one table, one of which can be run, and one that other tables lead to.
    lea rbx, [r12 + 0x20000]
    map {window}, 3, rbx
    add rbx, 0x2000
    map {window} + 0x1000, 4, rbx
    add rbx, 0x2000
    map {window} + 0x8000000000, 3, rbx
    mov rax, {pattern}
    mov ecx, 512
    rep stosq
    mov rdi, {window}
    mov ecx, 512
    rep stosq
    # Positions of both rings.
    mov rdi, qword ptr [REGISTERS + {transmit_ring}]
    mov esi, TEXT + {short_record}
    mov ecx, {record_start}
    rep movsb
    mov rax, qword ptr [REGISTERS + {receive_head}]
    mov qword ptr [CONTROL + {receive_tail}], rax
    mov qword ptr [CONTROL], {short_record_bytes}
    read_xcr0
    .macro ending letter, target
    lea rax, [rip + \target]
    cmp r15b, \letter
    cmove r14, rax
    .endm
    lea r14, [rip + denali_leaks_ud2]
    ending 't', denali_leaks_terminate
    ending 'm', denali_leaks_out_of_memory
    ending 's', denali_leaks_terminate_string
    ending 'f', denali_leaks_terminate_trap
    ending 'x', denali_leaks_spin
    ending 'i', denali_leaks_idle
    ending 'v', denali_leaks_idle_and_see
    ending 'k', denali_leaks_kick
    ending 'p', denali_leaks_protect
    ending 'q', denali_leaks_map
    ending '0', denali_leaks_page
    ending '1', denali_leaks_divide
    ending '2', denali_leaks_hlt
    ending '3', denali_leaks_port
    ending '4', denali_leaks_debug_register
    ending '5', denali_leaks_control_register
    ending '6', denali_leaks_wrmsr
    ending '7', denali_leaks_xsetbv
    mov qword ptr [TARGET_AT], r14
    fill_cpu {pattern}, 0xffff, 0x0c40
    jmp qword ptr [TARGET_AT]

denali_leaks_terminate:
    mov edi, 0x5a
    out 0xd1, eax
denali_leaks_out_of_memory:
    mov edi, 0x100
    out 0xd1, eax
denali_leaks_terminate_string:
    mov edi, 0x5a
    mov edx, 0xd1
    mov esi, SAVE
    outsd
    ud2
denali_leaks_terminate_trap:
    mov edi, 0x5a
    mov esp, STACK_AT
    push 0x102
    popfq
    out 0xd1, eax
denali_leaks_spin:
    jmp denali_leaks_spin
denali_leaks_idle:
    mov rdi, -1
    out 0xd0, eax
    jmp denali_leaks_idle
denali_leaks_idle_and_see:
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, qword ptr [REGISTERS + {tsc_base}]
    mul qword ptr [REGISTERS + {tsc_to_ns}]
    shrd rax, rdx, 32
    # A quarter of a second: not before it is reached, on a busy host.
    lea rdi, [rax + 250000000]
    # The first ends at once, for the frame that was taken.
    out 0xd0, eax
    out 0xd0, eax
    mov rbx, {window} + 0x8000000ff8
    cmp qword ptr [rbx], r8
    jne denali_leaks_ud2
    mov rbx, {window}
    cmp qword ptr [rbx], r8
    jne denali_leaks_ud2
    mov qword ptr [rbx], rbx
    # They are what is behind.
    map {window}, 0, -1
    mov rax, qword ptr [REGISTERS + {heap_start}]
    cmp qword ptr [rax + 0x20000], rbx
    jne denali_leaks_ud2
    mov edi, 0x5a
    out 0xd1, eax
denali_leaks_kick:
    out 0xd2, eax
    jmp denali_leaks_kick
denali_leaks_protect:
    mov rdi, qword ptr [REGISTERS + {heap_start}]
    # Those before are in the window.
    add rdi, 0x40000
    mov rsi, qword ptr [REGISTERS + {memory_bytes}]
    sub rsi, rdi
    mov edx, 1
    xor r10d, r10d
    out 0xd3, eax
    jmp denali_leaks_protect
denali_leaks_map:
    mov r10, qword ptr [REGISTERS + {heap_start}]
    # No more than what is still put back.
    add r10, 0x140000
    mov rsi, qword ptr [REGISTERS + {memory_bytes}]
    sub rsi, r10
    mov rdi, {window} + 0x400000
    mov edx, 1
    out 0xd3, eax
    mov r10, -1
    out 0xd3, eax
    jmp denali_leaks_map
denali_leaks_page:
    mov qword ptr [0x10], rax
denali_leaks_divide:
    div rcx
denali_leaks_hlt:
    hlt
denali_leaks_port:
    out 0x99, al
denali_leaks_debug_register:
    mov dr7, rax
denali_leaks_control_register:
    mov cr3, rax
denali_leaks_wrmsr:
    wrmsr
denali_leaks_xsetbv:
    xsetbv
denali_leaks_ud2:
    ud2
.globl denali_leaks_guest_end
denali_leaks_guest_end:
.popsection
