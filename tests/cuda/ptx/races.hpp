// Who wrote and read each number of an array last, and whether that is a race.
//
// The barriers of a block cut its time into intervals; intervals of all blocks are numbered, and
// never two blocks have the same. Two accesses to a number, at least one of which writes, are a race
// where they are of two blocks, or of two threads in one interval. Atomic operations do not race
// with each other.
#pragma once
#include <sys/mman.h>

#include <new>
#include <utility>

#include "kernel.hpp"

inline u8* reserve(size_t bytes) {  // zeros, which take no memory until they are touched
    void* found = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) throw std::bad_alloc();
    return static_cast<u8*>(found);
}

struct Clock {
    u32 interval;     // that of now
    u32 block_begin;  // the first of the block that runs
};

inline Clock timeline;

constexpr u16 SEVERAL = 0xFFFF;

// The accesses of one kind: what is kept of them is what a later access has to know.
struct Accesses {
    u32 interval;    // of the last; 0 where there was none
    u16 thread;      // of that interval
    bool elsewhere;  // whether some were of blocks before that one
    bool atomic;

    bool race_with(u32 other) const {
        return is_elsewhere() || (interval == timeline.interval && thread != other);
    }

    bool is_elsewhere() const {
        return elsewhere || (interval && interval < timeline.block_begin);
    }

    void note(u16 by, bool is_atomic) {
        elsewhere = is_elsewhere();
        thread = interval == timeline.interval && thread != by ? SEVERAL : by;
        interval = timeline.interval;
        atomic = is_atomic;
    }
};

struct Item {
    Accesses writes, reads;
};

class Shadow {  // of an allocation, or of a block's shared memory
   public:
    Shadow() = default;

    Shadow(u64 bytes, u64 item_bytes, bool of_block)
        : size_((bytes / item_bytes + 1) * sizeof(Item)), of_block_(of_block) {
        while (u64(1) << shift_ < item_bytes) shift_++;
        items_ = reinterpret_cast<Item*>(reserve(size_));
    }

    Shadow(Shadow&& other) : Shadow() { *this = std::move(other); }

    Shadow& operator=(Shadow&& other) {
        std::swap(size_, other.size_);
        std::swap(shift_, other.shift_);
        std::swap(of_block_, other.of_block_);
        std::swap(items_, other.items_);
        return *this;
    }

    ~Shadow() {
        if (items_) munmap(items_, size_);
    }

    // What an access races with, or nothing.
    const char* note(u16 thread, Kind kind, u64 at, u32 bytes) {
        for (u64 i = at >> shift_; i <= (at + bytes - 1) >> shift_; i++) {
            auto& [writes, reads] = items_[i];
            if (of_block_) {  // which has memory of its own
                if (writes.interval < timeline.block_begin) writes = {};
                if (reads.interval < timeline.block_begin) reads = {};
            }
            const bool both_atomic = kind == ATOMIC && writes.atomic;
            if (!both_atomic && writes.race_with(thread)) {
                return writes.is_elsewhere() ? "written by another block"
                                             : "written by another thread since the last barrier";
            }
            if (kind == LOAD) {
                reads.note(thread, false);
            } else {
                if (reads.race_with(thread)) {
                    return reads.is_elsewhere() ? "read by another block"
                                                : "read by another thread since the last barrier";
                }
                writes.note(thread, kind == ATOMIC);
            }
        }
        return nullptr;
    }

    // Whether the block that runs wrote all of this.
    bool is_written(u64 at, u32 bytes) const {
        for (u64 i = at >> shift_; i <= (at + bytes - 1) >> shift_; i++) {
            if (items_[i].writes.interval < timeline.block_begin) return false;
        }
        return true;
    }

   private:
    u64 size_ = 0;
    u32 shift_ = 0;
    bool of_block_ = false;
    Item* items_ = nullptr;
};
