// Times the calls that a TVM virtual machine makes, as the function that the machine calls before
// and after each of them.
//
// A kernel may take a microsecond, and a watch in an interpreted language as long. This one takes
// the time as the last thing before a call and the first thing after it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hwnas {

// An argument or a result in the calling convention of tvm-ffi: TVMFFIAny of tvm/ffi/c_api.h.
struct FfiValue {
    std::int32_t type;
    std::uint32_t length;  // of a short string
    union {
        std::int64_t integer;
        void* pointer;
        char text[8];
    };
};

struct CallTime {
    std::int64_t function;   // its place among the names
    std::int64_t arguments;  // how many it was called with
    std::int64_t cpu_ns;     // of the thread
    std::int64_t wall_ns;
};

struct CallTimes {
    std::vector<std::string> names;
    std::vector<CallTime> calls;  // in the order in which they ended
};

// To be set as a machine's instrument. Arguments are the function, its name, whether it is before
// the call, the result, and the call's arguments; the answer is 0, which means to go on. Calls are
// kept for each `self` and thread, at most a million; later ones are not recorded.
int watch_call(void* self, const FfiValue* arguments, std::int32_t count,
               FfiValue* result) noexcept;

// Returns and forgets what this thread has recorded for `self`.
CallTimes take_call_times(void* self);

}  // namespace hwnas
