// Runs one encoding of ROWS random architectures, for an instruction counter:
//
//     valgrind --tool=callgrind count_encodings NAME ROWS
//
// Twice as many rows less once as many, by ROWS, is the count of an architecture.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "example_families.hpp"
#include "hwnas/isomorphism_key.hpp"
#include "hwnas/one_hot.hpp"
#include "hwnas/path_encoding.hpp"
#include "hwnas/weisfeiler_lehman.hpp"

using namespace hwnas;
using namespace hwnas_test;

int main(int count, char** arguments) {
    const char* name = count == 3 ? arguments[1] : "";
    const std::size_t n = count == 3 ? std::strtoull(arguments[2], nullptr, 10) : 0;
    const bool is_darts = std::strncmp(name, "darts", 5) == 0;
    const GraphFamily family(is_darts ? darts() : nasbench201());
    const PathEncoding paths(family, is_darts ? 0 : 1, is_darts ? 4 : 3);
    const auto population = draw(family.option_counts, n, 1);
    std::vector<std::uint8_t> bytes(n * 155);
    std::vector<std::uint16_t> columns(n * paths.most_paths());
    std::vector<std::uint64_t> hashes(n);
    const char* what = std::strchr(name, '_');
    if (what != nullptr && std::strcmp(what, "_onehot") == 0) {
        OneHot(family.option_counts).encode(population.data(), n, bytes.data(), 1);
    } else if (what != nullptr && std::strcmp(what, "_path") == 0) {
        paths.columns(population.data(), n, columns.data(), 1);
    } else if (what != nullptr && std::strcmp(what, "_wl3") == 0) {
        weisfeiler_lehman(family, population.data(), n, 3, hashes.data(), nullptr, 1,
                          detect_instruction_set());
    } else if (what != nullptr && std::strcmp(what, "_key") == 0) {
        isomorphism_keys(family, population.data(), n, bytes.data(), 1);
    } else if (what == nullptr || std::strcmp(what, "_draw") != 0) {
        std::fprintf(stderr,
                     "usage: count_encodings {nb201,darts}_{onehot,path,wl3,key,draw} ROWS\n");
        return 2;
    }
    return 0;
}
