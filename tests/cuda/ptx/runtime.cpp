// Runs the threads of a kernel as fibers of one thread of the CPU, and checks what they do.
//
// Blocks run one after another, in an order drawn from a seed. A thread runs until it waits for
// others, at a barrier or a shuffle; which of those that can go on does so is drawn too. What is
// wrong ends the launch at once.
#include <immintrin.h>
#include <sys/mman.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "kernel.hpp"
#include "races.hpp"

struct View {  // an array that the kernel was given
    u64 begin, end, writable, allocation;
};

struct Allocation {  // memory that one or more of them lie in
    u64 begin, end, item_bytes;
};

struct Launch {
    void (*kernel)(Thread&);
    const u8* parameters;
    u32 blocks, threads, dynamic_bytes, seed, n_views, n_allocations, n_shared;
    const View* views;
    const Allocation* allocations;
    const Span* shared;  // arrays of shared memory, of addresses that begin at 0
    u32 shared_item_bytes;
};

struct Report {
    u64 loads, stores;
    char text[1000];
};

constexpr u32 WARP = 32, NOWHERE = ~0u;
constexpr size_t STACK_BYTES = 256 << 10;

enum State { READY, AT_BARRIER, IN_EXCHANGE, DONE };

struct Fiber : Thread {
    void* stack_pointer;
    State state;
    u32 instruction;  // where it waits
    u32 mask, value, lane, segment;
};

Grid grid;
u64 shared_window;

static const Launch* launch;
static Report* report;
static bool failed;
static void* scheduler;  // its stack pointer, while a fiber runs
static u8* stacks;
static std::vector<Fiber> fibers;
static std::vector<Fiber*> ready;
static u32 waiting, left;
static std::vector<Shadow> shadows;  // one for each allocation
static Shadow shared_shadow;
static std::vector<u8> shared_memory;

// -- fibers --------------------------------------------------------------------------------------

// Keep the registers that a function has to keep, and go on where others were kept.
extern "C" void switch_stacks(void** from, void* to);
asm(R"(
.text
.type switch_stacks, @function
switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

static Fiber* current;

static void pause() { switch_stacks(&current->stack_pointer, scheduler); }

static void run_fiber() {
    launch->kernel(*current);
    current->state = DONE;
    left--;
    pause();
}

static void start(Fiber& fiber, u32 number) {
    fiber = Fiber{};
    fiber.number = number;
    fiber.instruction = NOWHERE;
    void** top = reinterpret_cast<void**>(stacks + (number + 1) * STACK_BYTES);
    *--top = nullptr;  // where a function would return to: its stack is aligned to 16, less this
    *--top = reinterpret_cast<void*>(run_fiber);
    fiber.stack_pointer = top - 6;  // as switch_stacks leaves it
    ready.push_back(&fiber);
}

// -- what is wrong -------------------------------------------------------------------------------

// "@7" stands for instruction 7: whoever reads the report knows its line.
__attribute__((format(printf, 1, 2))) static void tell(const char* format, ...) {
    if (failed) return;
    failed = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(report->text, sizeof report->text, format, arguments);
    va_end(arguments);
}

[[noreturn]] static void stop() {
    pause();
    abort();
}

[[noreturn]] void fail(Thread& thread, u32 instruction, const char* what) {
    tell("%s: thread %u of block %u at @%u", what, thread.number, grid.block, instruction);
    stop();
}

// Nobody can go on: what for the first of them waits in vain.
static void report_deadlock() {
    for (auto& fiber : fibers) {
        if (fiber.state == DONE) continue;
        const bool at_barrier = fiber.state == AT_BARRIER;
        for (auto& other : fibers) {
            const bool is_awaited =
                at_barrier || (other.number / WARP == fiber.number / WARP &&
                               (fiber.mask >> other.number % WARP & 1));
            const bool is_there = other.state == fiber.state &&
                                  (at_barrier || (other.instruction == fiber.instruction &&
                                                  other.mask == fiber.mask));
            if (!is_awaited || is_there) continue;
            const char* what = at_barrier ? "divergent barrier" : "divergent shuffle or vote";
            if (other.state == DONE) {
                tell("%s: thread %u of block %u waits at @%u for thread %u, which has ended", what,
                     fiber.number, grid.block, fiber.instruction, other.number);
            } else {
                tell("%s: thread %u of block %u waits at @%u for thread %u, which waits at @%u",
                     what, fiber.number, grid.block, fiber.instruction, other.number,
                     other.instruction);
            }
            return;
        }
    }
}

// -- waiting for others --------------------------------------------------------------------------

void barrier(Thread& thread, u32 instruction) {
    auto& fiber = static_cast<Fiber&>(thread);
    fiber.state = AT_BARRIER;
    fiber.instruction = instruction;
    if (++waiting == fibers.size()) {
        waiting = 0;
        timeline.interval++;
        for (auto& other : fibers) {
            if (other.instruction != instruction) {
                tell("divergent barrier: thread %u of block %u at @%u, thread %u at @%u",
                     fiber.number, grid.block, instruction, other.number, other.instruction);
                stop();
            }
            other.state = READY;
            ready.push_back(&other);
        }
    }
    pause();
}

// The lane that a shuffle reads: itself where it would leave its segment.
static u32 source_lane(Exchange how, Fiber& fiber) {
    const u32 self = fiber.number % WARP, segments = fiber.segment >> 8 & 31;
    const u32 last = (self & segments) | (fiber.segment & 31 & ~segments);
    const u32 lane = fiber.lane & 31;
    const u32 source = how == SHUFFLE_IDX    ? (self & segments) | (lane & ~segments)
                       : how == SHUFFLE_DOWN ? self + lane
                                             : self ^ lane;
    fiber.is_inside = source <= last;
    return fiber.is_inside ? source : self;
}

static void exchange_values(Exchange how, Fiber* lanes, u32 mask) {
    u32 ballot = 0, results[WARP] = {};
    for (u32 lane = 0; lane < WARP; lane++) {
        if (mask >> lane & 1) ballot |= u32(lanes[lane].value != 0) << lane;
    }
    for (u32 lane = 0; lane < WARP; lane++) {
        if (!(mask >> lane & 1)) continue;
        if (how == BALLOT) {
            results[lane] = ballot;
            continue;
        }
        const u32 source = source_lane(how, lanes[lane]);
        if (!(mask >> source & 1)) {
            tell("a shuffle reads lane %u, which its mask does not name: thread %u of block %u at @%u",
                 source, lanes[lane].number, grid.block, lanes[lane].instruction);
            stop();
        }
        results[lane] = lanes[source].value;
    }
    for (u32 lane = 0; lane < WARP; lane++) {
        if (mask >> lane & 1) lanes[lane].value = results[lane];
    }
}

u32 exchange(Thread& thread, u32 instruction, Exchange how, u32 mask, u32 value, u32 lane,
             u32 segment) {
    auto& fiber = static_cast<Fiber&>(thread);
    fiber.state = IN_EXCHANGE;
    fiber.instruction = instruction;
    fiber.mask = mask;
    fiber.value = value;
    fiber.lane = lane;
    fiber.segment = segment;
    const u32 first = fiber.number / WARP * WARP;
    const u32 here = fibers.size() - first < WARP ? fibers.size() - first : WARP;
    if (!(mask >> (fiber.number - first) & 1)) fail(thread, instruction, "a mask without the lane");
    if (here < WARP && mask >> here) fail(thread, instruction, "a mask of lanes that are not there");
    bool all = true;
    for (u32 number = 0; number < here; number++) {
        auto& other = fibers[first + number];
        if (!(mask >> number & 1)) continue;
        if (other.state == DONE) fail(thread, instruction, "a mask of lanes that have ended");
        all &= other.state == IN_EXCHANGE && other.instruction == instruction && other.mask == mask;
    }
    if (all) {
        exchange_values(how, &fibers[first], mask);
        for (u32 number = 0; number < here; number++) {
            auto& other = fibers[first + number];
            if (!(mask >> number & 1)) continue;
            other.state = READY;
            if (&other != &fiber) ready.push_back(&other);
        }
    } else {
        pause();
    }
    return fiber.value;
}

// -- memory --------------------------------------------------------------------------------------

[[noreturn]] static void fail_access(Thread& thread, u32 instruction, Kind kind, const char* where,
                                     const char* what) {
    static const char* const names[] = {"load", "store", "atomic operation"};
    tell("%s %s %s: thread %u of block %u at @%u", where, names[kind], what, thread.number,
         grid.block, instruction);
    stop();
}

static void check_race(Thread& thread, u32 instruction, Kind kind, const char* where,
                       const char* race) {
    if (!race) return;
    tell("%s race: %s, %s, thread %u of block %u at @%u", where,
         kind == LOAD ? "a load" : kind == STORE ? "a store" : "an atomic operation", race,
         thread.number, grid.block, instruction);
    stop();
}

static void* access_shared(Thread& thread, u32 instruction, Kind kind, u64 at, u32 bytes) {
    for (u32 i = 0; i < launch->n_shared; i++) {
        const Span& array = launch->shared[i];
        if (at < array.begin || at + bytes > array.end) continue;
        if (kind == LOAD && !shared_shadow.is_written(at, bytes)) {
            fail_access(thread, instruction, kind, "uninitialised shared", "of what nobody wrote");
        }
        check_race(thread, instruction, kind, "shared",
                   shared_shadow.note(thread.number, kind, at, bytes));
        return shared_memory.data() + at;
    }
    fail_access(thread, instruction, kind, "shared", "out of bounds");
}

static void* access_global(Thread& thread, u32 instruction, Kind kind, u64 address, u32 bytes) {
    static u32 last;  // neighbours read the same array
    bool read_only = false;
    for (u32 i = 0; i <= launch->n_views; i++) {
        const u32 number = i ? i - 1 : last;
        if (number >= launch->n_views) continue;
        const View& view = launch->views[number];
        if (address < view.begin || address + bytes > view.end) continue;
        if (kind != LOAD && !view.writable) {
            read_only = true;
            continue;
        }
        last = number;
        const u64 at = address - launch->allocations[view.allocation].begin;
        check_race(thread, instruction, kind, "global",
                   shadows[view.allocation].note(thread.number, kind, at, bytes));
        return reinterpret_cast<void*>(address);
    }
    fail_access(thread, instruction, kind, "global",
                read_only ? "to an array that is only to be read" : "out of bounds");
}

void* access(Thread& thread, u32 instruction, Kind kind, Space space, u64 address, u32 bytes) {
    (kind == LOAD ? report->loads : report->stores)++;
    const auto lies_in = [&](Span span) { return address >= span.begin && address < span.end; };
    if (space == GENERIC) {
        space = lies_in(thread.local) ? LOCAL : GLOBAL;
        if (lies_in({shared_window, shared_window + shared_memory.size()})) {
            space = SHARED;
            address -= shared_window;
        }
    }
    if (address % bytes) {
        static const char* const names[] = {"global", "shared", "local"};
        fail_access(thread, instruction, kind, names[space], "misaligned");
    }
    if (space == SHARED) return access_shared(thread, instruction, kind, address, bytes);
    if (space == GLOBAL) return access_global(thread, instruction, kind, address, bytes);
    if (!lies_in(thread.local) || address + bytes > thread.local.end) {
        fail_access(thread, instruction, kind, "local", "out of bounds");
    }
    return reinterpret_cast<void*>(address);
}

f32 half_to_float(u16 bits) { return _cvtsh_ss(bits); }
u16 float_to_half(f32 value) { return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT); }

// -- launches ------------------------------------------------------------------------------------

struct Random {  // splitmix64
    u64 state;

    u32 below(u32 n) {
        u64 bits = state += 0x9E3779B97F4A7C15;
        bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9;
        bits = (bits ^ bits >> 27) * 0x94D049BB133111EB;
        return (bits ^ bits >> 31) % n;
    }
};

static void run_block(u32 block, Random& random) {
    grid.block = block;
    timeline.interval++;
    timeline.block_begin = timeline.interval;
    waiting = 0;
    left = fibers.size();
    ready.clear();
    for (u32 number = 0; number < fibers.size(); number++) start(fibers[number], number);
    while (!ready.empty() && !failed) {
        std::swap(ready[random.below(ready.size())], ready.back());
        current = ready.back();
        ready.pop_back();
        switch_stacks(&scheduler, current->stack_pointer);
    }
    if (left && !failed) report_deadlock();
}

// 0 where all is well; else the report says what is wrong.
extern "C" int run_kernel(const Launch* given, Report* to) {
    launch = given, report = to, failed = false;
    grid = {launch->blocks, launch->threads, 0, launch->dynamic_bytes, launch->parameters};
    timeline = {};
    const size_t shared_bytes = launch->n_shared ? launch->shared[launch->n_shared - 1].end : 0;
    shared_memory.resize(shared_bytes);
    shared_window = reinterpret_cast<u64>(shared_memory.data());
    shared_shadow = Shadow(shared_bytes, launch->shared_item_bytes, true);
    shadows.clear();
    for (u32 i = 0; i < launch->n_allocations; i++) {
        const Allocation& allocation = launch->allocations[i];
        shadows.emplace_back(allocation.end - allocation.begin, allocation.item_bytes, false);
    }
    fibers.resize(launch->threads);
    stacks = reserve(launch->threads * STACK_BYTES);

    Random random = {launch->seed};
    std::vector<u32> order(launch->blocks);
    for (u32 i = 0; i < launch->blocks; i++) {
        order[i] = i;
        std::swap(order[i], order[random.below(i + 1)]);
    }
    for (u32 block : order) {
        if (!failed) run_block(block, random);
    }
    munmap(stacks, launch->threads * STACK_BYTES);
    shadows.clear();
    return failed;
}
