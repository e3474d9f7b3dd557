// A population dealt out to threads in runs of rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace hwnas {

// Calls work(begin, end) for runs of rows that cover [0, n) once, in as many threads at most. Runs
// begin at multiples of 64, and have `fewest_rows` at least where there are several. What is
// thrown is that of the first run that throws, so errors do not depend on the number of threads.
//
// Throws std::invalid_argument when threads < 1, and whatever `work` throws.
template <typename Work>
void split_rows(std::size_t n, int threads, std::size_t fewest_rows, const Work& work) {
    if (threads < 1) {
        throw std::invalid_argument("threads must be at least 1, found " +
                                    std::to_string(threads));
    }
    constexpr std::size_t kStep = 64;
    const std::size_t parts =
        std::clamp<std::size_t>(n / fewest_rows, 1, static_cast<std::size_t>(threads));
    if (parts == 1) return work(std::size_t{0}, n);
    const std::size_t steps = (n + kStep - 1) / kStep;
    std::vector<std::exception_ptr> thrown(parts);
    const auto run = [&](std::size_t part) {
        try {
            work(std::min(n, steps * part / parts * kStep),
                 std::min(n, steps * (part + 1) / parts * kStep));
        } catch (...) {
            thrown[part] = std::current_exception();
        }
    };
    std::vector<std::thread> helpers;
    helpers.reserve(parts - 1);
    for (std::size_t part = 1; part < parts; ++part) {
        try {
            helpers.emplace_back(run, part);
        } catch (const std::system_error&) {
            run(part);  // no more threads to be had
        }
    }
    run(0);
    for (std::thread& helper : helpers) helper.join();
    for (const std::exception_ptr& error : thrown) {
        if (error) std::rethrow_exception(error);
    }
}

}  // namespace hwnas
