// Runs a libFuzzer target where the compiler has no libFuzzer: changes inputs at random, and keeps
// those that reach code not reached before (-fsanitize-coverage=trace-pc).
//
//     fuzz_graphs [-max_total_time=SECONDS] [-seed=NUMBER] [-runs=NUMBER] [FILE...]
//
// Files are run once each, before anything else. Without a time or a number of runs it runs the
// files alone. An input that ends the process is left in crash-input.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::size_t kPlaces = 1 << 16;
constexpr std::size_t kMostBytes = 4096;
std::uint8_t reached[kPlaces];
std::size_t n_reached = 0;

const char* const kLeftOver = "crash-input";

void write_input(const Input& input) {
    if (std::FILE* file = std::fopen(kLeftOver, "wb")) {
        std::fwrite(input.data(), 1, input.size(), file);
        std::fclose(file);
    }
}

Input read_input(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (file == nullptr) {
        std::fprintf(stderr, "cannot read %s\n", path);
        std::exit(2);
    }
    Input input(kMostBytes);
    input.resize(std::fread(input.data(), 1, input.size(), file));
    std::fclose(file);
    return input;
}

Input change(Input input, const std::vector<Input>& kept, std::mt19937_64& rng) {
    for (std::size_t turns = 1 + rng() % 4; turns-- > 0;) {
        const std::size_t at = input.empty() ? 0 : rng() % input.size();
        switch (rng() % 6) {
            case 0:  // a longer tail
                for (std::size_t k = 1 + rng() % 64; k-- > 0;) {
                    input.push_back(static_cast<std::uint8_t>(rng()));
                }
                break;
            case 1:
                if (!input.empty()) input[at] ^= static_cast<std::uint8_t>(1U << rng() % 8);
                break;
            case 2:
                if (!input.empty()) {
                    constexpr std::uint8_t kTelling[] = {0, 1, 2, 63, 64, 127, 128, 254, 255};
                    input[at] = kTelling[rng() % sizeof(kTelling)];
                }
                break;
            case 3:
                input.insert(input.begin() + static_cast<std::ptrdiff_t>(at),
                             static_cast<std::uint8_t>(rng()));
                break;
            case 4:
                if (!input.empty()) input.erase(input.begin() + static_cast<std::ptrdiff_t>(at));
                break;
            default: {  // the tail of another input
                const Input& other = kept[rng() % kept.size()];
                if (other.empty()) break;
                const std::size_t from = rng() % other.size();
                input.resize(at);
                input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(from),
                             other.end());
            }
        }
    }
    if (input.size() > kMostBytes) input.resize(kMostBytes);
    return input;
}

const char* value_of(const char* argument, const char* name) {
    const std::size_t length = std::strlen(name);
    return std::strncmp(argument, name, length) == 0 ? argument + length : nullptr;
}

}  // namespace

// Called before every piece of straight-line code of what is tested.
extern "C" void __sanitizer_cov_trace_pc() {
    const auto place = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
    std::uint8_t& seen = reached[(place ^ place >> 16) % kPlaces];
    n_reached += seen == 0;
    seen = 1;
}

int main(int count, char** arguments) {
    double seconds = 0;
    std::uint64_t runs = 0, seed = 1;
    std::vector<Input> kept = {{}, {0}, {1}, {2}};
    for (int i = 1; i < count; ++i) {
        if (const char* text = value_of(arguments[i], "-max_total_time=")) {
            seconds = std::atof(text);
        } else if (const char* text = value_of(arguments[i], "-seed=")) {
            seed = std::strtoull(text, nullptr, 10);
        } else if (const char* text = value_of(arguments[i], "-runs=")) {
            runs = std::strtoull(text, nullptr, 10);
        } else {
            kept.push_back(read_input(arguments[i]));
        }
    }
    for (const Input& input : kept) LLVMFuzzerTestOneInput(input.data(), input.size());
    std::mt19937_64 rng(seed);
    const auto begin = std::chrono::steady_clock::now();
    const auto elapsed = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    std::uint64_t done = 0;
    for (; seconds > 0 ? elapsed() < seconds : done < runs; ++done) {
        const Input input = change(kept[rng() % kept.size()], kept, rng);
        write_input(input);
        const std::size_t before = n_reached;
        LLVMFuzzerTestOneInput(input.data(), input.size());
        if (n_reached > before) kept.push_back(input);
    }
    std::remove(kLeftOver);
    std::printf("%llu inputs, %zu kept, %zu places reached\n",
                static_cast<unsigned long long>(done), kept.size(), n_reached);
    return 0;
}
