#include "hwnas/call_watch.hpp"

#include <cstring>
#include <ctime>
#include <unordered_map>
#include <utility>

namespace hwnas {
namespace {

// Of tvm/ffi/c_api.h.
constexpr std::int32_t kInteger = 1;
constexpr std::int32_t kRawString = 8;
constexpr std::int32_t kShortString = 11;
constexpr std::int32_t kStringObject = 65;
constexpr std::size_t kObjectHeaderBytes = 24;  // then a pointer to the characters

constexpr std::int32_t kName = 1, kIsBefore = 2, kFixedArguments = 4;
constexpr std::size_t kMostCalls = 1 << 20;

std::int64_t now_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return 1'000'000'000LL * now.tv_sec + now.tv_nsec;
}

std::string text_of(const FfiValue& value) {
    if (value.type == kShortString) return {value.text, value.length};
    if (value.type == kRawString) return static_cast<const char*>(value.pointer);
    if (value.type != kStringObject) return "?";
    const char* cell = static_cast<const char*>(value.pointer) + kObjectHeaderBytes;
    const char* characters = nullptr;
    std::size_t size = 0;
    std::memcpy(&characters, cell, sizeof characters);
    std::memcpy(&size, cell + sizeof characters, sizeof size);
    return {characters, size};
}

struct Watch {
    CallTimes times;
    std::unordered_map<std::int64_t, std::int64_t> places;  // by what the name's value is
    std::int64_t begin_cpu_ns = 0, begin_wall_ns = 0;

    void note(const FfiValue* arguments, std::int32_t count, std::int64_t cpu, std::int64_t wall) {
        if (times.calls.size() >= kMostCalls) return;
        const auto next = static_cast<std::int64_t>(times.names.size());
        const auto found = places.emplace(arguments[kName].integer, next);
        if (found.second) times.names.push_back(text_of(arguments[kName]));
        times.calls.push_back({found.first->second, count - kFixedArguments, cpu - begin_cpu_ns,
                               wall - begin_wall_ns});
    }
};

Watch& watch_of(void* self) {
    thread_local std::unordered_map<void*, Watch> watches;
    return watches[self];
}

}  // namespace

int watch_call(void* self, const FfiValue* arguments, std::int32_t count,
               FfiValue* result) noexcept {
    const std::int64_t cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
    const std::int64_t wall = now_ns(CLOCK_MONOTONIC);
    Watch& mine = watch_of(self);
    if (count >= kFixedArguments && arguments[kIsBefore].integer == 0) {
        mine.note(arguments, count, cpu, wall);
    }
    result->type = kInteger;
    result->length = 0;
    result->integer = 0;
    mine.begin_wall_ns = now_ns(CLOCK_MONOTONIC);
    mine.begin_cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
    return 0;
}

CallTimes take_call_times(void* self) {
    Watch& mine = watch_of(self);
    // A name's value may be an address, which another name can have later.
    mine.places.clear();
    return std::exchange(mine.times, {});
}

}  // namespace hwnas
