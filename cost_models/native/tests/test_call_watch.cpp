#include <cstring>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "hwnas/call_watch.hpp"

namespace {

hwnas::FfiValue integer(std::int64_t value) {
    hwnas::FfiValue made{};
    made.type = 1;
    made.integer = value;
    return made;
}

int self_of_a, self_of_b;

int watch(bool before, hwnas::FfiValue* result, const char* name = "kernel",
          void* self = &self_of_a) {
    hwnas::FfiValue named{};
    named.type = 8;
    named.pointer = const_cast<char*>(name);
    const hwnas::FfiValue arguments[] = {integer(0), named, integer(before ? 1 : 0), integer(0),
                                         integer(5)};
    return hwnas::watch_call(self, arguments, 5, result);
}

void work(int milliseconds) {
    const std::clock_t end = std::clock() + milliseconds * (CLOCKS_PER_SEC / 1000);
    while (std::clock() < end) {
    }
}

void calls_are_timed_in_order() {
    hwnas::FfiValue result{};
    result.type = 77;
    result.integer = 77;

    CHECK(watch(true, &result) == 0);
    CHECK(result.type == 1);
    CHECK(result.integer == 0);
    work(3);
    CHECK(watch(false, &result) == 0);
    CHECK(watch(true, &result) == 0);
    CHECK(watch(false, &result) == 0);

    const hwnas::CallTimes found = hwnas::take_call_times(&self_of_a);
    CHECK(found.calls.size() == 2);
    CHECK(found.calls[0].cpu_ns > 1'000'000);
    CHECK(found.calls[0].wall_ns > 1'000'000);
    CHECK(found.calls[0].arguments == 1);
    CHECK(found.calls[1].cpu_ns >= 0);
    CHECK(found.calls[1].cpu_ns < found.calls[0].cpu_ns);
    CHECK(hwnas::take_call_times(&self_of_a).calls.empty());
}

void names_are_kept_once_in_whatever_form_they_come() {
    hwnas::FfiValue result{};
    const char* text = "an object";
    std::size_t size = 9;
    char object[40] = {};
    std::memcpy(object + 24, &text, sizeof text);
    std::memcpy(object + 32, &size, sizeof size);
    hwnas::FfiValue names[2] = {};
    names[0].type = 11;
    names[0].length = 5;
    std::memcpy(names[0].text, "short", 5);
    names[1].type = 65;
    names[1].pointer = object;
    for (int run = 0; run < 2; ++run) {
        for (const hwnas::FfiValue& name : names) {
            const hwnas::FfiValue arguments[] = {integer(0), name, integer(0), integer(0)};
            hwnas::watch_call(&self_of_a, arguments, 4, &result);
        }
    }
    const hwnas::CallTimes found = hwnas::take_call_times(&self_of_a);
    CHECK((found.names == std::vector<std::string>{"short", "an object"}));
    CHECK(found.calls.size() == 4);
    CHECK(found.calls[3].function == 1);
}

void watches_and_threads_do_not_see_each_others_calls() {
    hwnas::FfiValue result{};
    watch(true, &result, "a", &self_of_a);
    watch(false, &result, "a", &self_of_a);
    watch(true, &result, "b", &self_of_b);
    watch(false, &result, "b", &self_of_b);
    CHECK((hwnas::take_call_times(&self_of_b).names == std::vector<std::string>{"b"}));
    CHECK((hwnas::take_call_times(&self_of_a).names == std::vector<std::string>{"a"}));
    std::thread([] {
        hwnas::FfiValue other{};
        watch(false, &other);
        CHECK(hwnas::take_call_times(&self_of_a).calls.size() == 1);
    }).join();
    CHECK(hwnas::take_call_times(&self_of_a).calls.empty());
}

}  // namespace

int main() {
    calls_are_timed_in_order();
    names_are_kept_once_in_whatever_form_they_come();
    watches_and_threads_do_not_see_each_others_calls();
    return REPORT();
}
