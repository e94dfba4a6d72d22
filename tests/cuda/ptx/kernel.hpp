// What a translated kernel is compiled with: PTX's types, its instructions, and what runtime.cpp
// does for a thread. It includes nothing, so that g++ is done soon.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using s8 = signed char;
using s16 = short;
using s32 = int;
using s64 = long long;
using b8 = u8;
using b16 = u16;
using b32 = u32;
using b64 = u64;
using f32 = float;
using f64 = double;
using pred = bool;

// -- what runtime.cpp does -----------------------------------------------------------------------

struct Span {
    u64 begin, end;
};

struct Thread {
    u32 number;       // in its block
    bool is_inside;   // whether its last shuffle read a lane of its segment
    Span local = {};  // its local memory
};

struct Grid {
    u32 blocks, threads;  // threads of a block
    u32 block;            // the one that runs
    u32 dynamic_bytes;    // of shared memory
    const u8* parameters;
};

enum Kind { LOAD, STORE, ATOMIC };
enum Space { GLOBAL, SHARED, LOCAL, GENERIC };
enum Exchange { BALLOT, SHUFFLE_IDX, SHUFFLE_DOWN, SHUFFLE_BFLY };

// An instruction is given by its number in the kernel.
extern Grid grid;
extern u64 shared_window;  // the generic address of shared memory
void* access(Thread&, u32 instruction, Kind, Space, u64 address, u32 bytes);
void barrier(Thread&, u32 instruction);
u32 exchange(Thread&, u32 instruction, Exchange, u32 mask, u32 value, u32 lane, u32 segment);
[[noreturn]] void fail(Thread&, u32 instruction, const char* what);
f32 half_to_float(u16);
u16 float_to_half(f32);

// -- registers -----------------------------------------------------------------------------------

template <class A, class B> constexpr bool same = false;
template <class A> constexpr bool same<A, A> = true;
template <class T> constexpr bool is_float = same<T, f32> || same<T, f64>;

struct f16 {
    u16 bits;
    explicit f16(f32 value) : bits(float_to_half(value)) {}
    operator f32() const { return half_to_float(bits); }
};

// A register, read as a type: its bits, or the lowest of them.
template <class T, class R> inline T get(R bits) {
    if constexpr (same<T, R>) {
        return bits;
    } else if constexpr (is_float<T> || is_float<R> || same<T, f16>) {
        return __builtin_bit_cast(T, bits);
    } else {
        return static_cast<T>(bits);
    }
}

// A register that is wider than what is put there takes its sign along.
template <class T, class R> inline void put(R& target, T value) {
    if constexpr (sizeof(T) == sizeof(R)) {
        target = __builtin_bit_cast(R, value);
    } else {
        static_assert(!is_float<T> && !is_float<R> && sizeof(R) > sizeof(T));
        target = static_cast<R>(value);
    }
}

// -- instructions that C++ has no operator for ---------------------------------------------------

template <class T> inline T shift_left(T a, u32 by) { return by < 8 * sizeof(T) ? a << by : 0; }

template <class T> inline T shift_right(T a, u32 by) {
    if (by < 8 * sizeof(T)) return a >> by;
    return a < 0 ? -1 : 0;
}

// The lowest bits of a, put over `length` bits of b.
template <class T> inline T insert_bits(T a, T b, u32 position, u32 length) {
    position &= 255, length &= 255;
    T ones = length < 8 * sizeof(T) ? shift_left<T>(1, length) - 1 : ~T(0);
    T field = shift_left<T>(ones, position);
    return (b & ~field) | (shift_left<T>(a, position) & field);
}

template <class T> inline T checked_divisor(Thread& thread, u32 instruction, T a, T b) {
    if (b == 0) fail(thread, instruction, "integer division by zero");
    if (T(-1) < 0 && b == T(-1) && a == -a) return 1;  // the least number: its quotient is itself
    return b;
}

inline u32 upper_half(u32 a, u32 b) { return u64(a) * b >> 32; }
inline s32 upper_half(s32 a, s32 b) { return s64(a) * b >> 32; }
inline u64 upper_half(u64 a, u64 b) { return static_cast<unsigned __int128>(a) * b >> 64; }
inline s64 upper_half(s64 a, s64 b) { return static_cast<__int128>(a) * b >> 64; }

// To the integer towards zero; NaN is 0, and what is too large the largest there is.
template <class T, class F> inline T to_integer(F value) {
    constexpr T least = T(-1) < 0 ? T(1) << (8 * sizeof(T) - 1) : 0, most = ~least;
    if (value != value) return 0;
    if (value <= static_cast<F>(least)) return least;
    return value >= static_cast<F>(most) ? most : static_cast<T>(value);
}

inline f32 flushed(f32 a) { return __builtin_fabsf(a) < 0x1p-126f ? __builtin_copysignf(0, a) : a; }
inline f64 flushed(f64 a) { return __builtin_fabs(a) < 0x1p-1022 ? __builtin_copysign(0, a) : a; }

inline f32 power_of_2(f32 a) { return flushed(__builtin_exp2f(flushed(a))); }

// To 20 bits of the mantissa, as the instruction has it.
inline f64 rough_reciprocal(f64 a) {
    u64 bits = __builtin_bit_cast(u64, flushed(1 / flushed(a)));
    return __builtin_bit_cast(f64, bits >> 32 << 32);
}
