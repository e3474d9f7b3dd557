// The few macros that the native tests need: a failed check is counted and told, and the test goes
// on. End main with REPORT().
#pragma once

#include <cmath>
#include <cstdio>

namespace hwnas_check {

inline int failures = 0;
inline int checks = 0;

inline void note(bool ok, const char* file, int line, const char* text) {
    ++checks;
    if (!ok) {
        ++failures;
        std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
    }
}

}  // namespace hwnas_check

#define CHECK(condition) hwnas_check::note((condition), __FILE__, __LINE__, #condition)

#define CHECK_NEAR(found, wanted, tolerance)                                            \
    hwnas_check::note(std::fabs((found) - (wanted)) <= (tolerance), __FILE__, __LINE__, \
                      #found " is near " #wanted)

#define CHECK_THROWS(expression, error)                                                     \
    do {                                                                                    \
        bool hwnas_thrown = false;                                                          \
        try {                                                                               \
            (void)(expression);                                                             \
        } catch (const error&) {                                                            \
            hwnas_thrown = true;                                                            \
        }                                                                                   \
        hwnas_check::note(hwnas_thrown, __FILE__, __LINE__, #expression " throws " #error); \
    } while (false)

#define REPORT()                                                                        \
    (std::printf("%d checks, %d failed\n", hwnas_check::checks, hwnas_check::failures), \
     hwnas_check::failures == 0 ? 0 : 1)
