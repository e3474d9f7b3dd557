// Runs layers through the simulated array: jobs on stdin, results on stdout, both little-endian.
//
// A job is eleven int32 (Job below) and the three streams. A result is the number of clock edges
// from `start` to the last value, as int64, or -1 if the values did not come within the limit, and
// then the values: [columns][rows][N pixels][N channels] int8. The end of stdin ends the program.
// Compiled with HWNAS_VERILATOR it drives Verilator's model, otherwise that of CXXRTL.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#ifdef HWNAS_VERILATOR
#include "Vsystolic_array.h"
#include "verilated.h"
#else
#include "systolic_array.h"
#endif

namespace {

constexpr int kSide = HWNAS_SIDE;

struct Job {
    int32_t depth, columns, rows, chunks;
    int32_t zero_point, low, high;
    int32_t a_columns;  // 1 if all tiles of channels read the same pixels, else `columns`
    int32_t stalls;     // of 256 offers of a feeder, so many are withheld
    int32_t seed;
    int32_t limit;  // clock edges
};

#ifdef HWNAS_VERILATOR

class Simulation {
  public:
    Vsystolic_array ports;

    void settle() { ports.eval(); }

    template <typename Port> static void put(Port& port, uint64_t value) {
        port = static_cast<Port>(value);
    }

    template <typename Port> static uint64_t get(const Port& port) { return port; }

    template <typename Port> static void put_bytes(Port& port, const uint8_t* bytes, int count) {
        std::memcpy(&port, bytes, static_cast<size_t>(count));
    }

    template <typename Port> static uint8_t byte(const Port& port, int index) {
        return reinterpret_cast<const uint8_t*>(&port)[index];
    }
};

#define PORT(name, escaped) name

#else

class Simulation {
  public:
    cxxrtl_design::p_systolic__array ports;

    void settle() { ports.step(); }

    template <typename Port> static void put(Port& port, uint64_t value) {
        port.data[0] = static_cast<uint32_t>(value);
        if constexpr (sizeof(port.data) > 4) port.data[1] = static_cast<uint32_t>(value >> 32);
    }

    template <typename Port> static uint64_t get(const Port& port) { return bits(port).data[0]; }

    template <typename Port> static void put_bytes(Port& port, const uint8_t* bytes, int count) {
        std::memcpy(port.data, bytes, static_cast<size_t>(count));
    }

    template <typename Port> static uint8_t byte(const Port& port, int index) {
        return static_cast<uint8_t>(bits(port).data[index / 4] >> (8 * (index % 4)));
    }

  private:
    template <size_t Bits> static const cxxrtl::value<Bits>& bits(const cxxrtl::value<Bits>& v) {
        return v;
    }
    template <size_t Bits> static const cxxrtl::value<Bits>& bits(const cxxrtl::wire<Bits>& w) {
        return w.curr;
    }
};

#define PORT(name, escaped) p_##escaped

#endif

// One stream of words, offered one a cycle, now and then withheld.
class Feeder {
  public:
    Feeder(const std::vector<uint8_t>& words, int word_bytes, uint32_t stalls, uint32_t seed)
        : words_(words), word_bytes_(word_bytes), stalls_(stalls), state_(seed | 1u) {}

    bool offers(int64_t total) {
        state_ ^= state_ << 13;  // Marsaglia's xorshift, so that runs repeat on every machine
        state_ ^= state_ >> 17;
        state_ ^= state_ << 5;
        return sent_ < total && (state_ >> 24) >= stalls_;
    }

    const uint8_t* word(int64_t index) const {
        return words_.data() + static_cast<size_t>(index) * static_cast<size_t>(word_bytes_);
    }

    int64_t sent() const { return sent_; }
    void advance() { ++sent_; }

  private:
    const std::vector<uint8_t>& words_;
    int word_bytes_;
    uint32_t stalls_, state_;
    int64_t sent_ = 0;
};

bool read_exactly(void* into, size_t bytes) { return std::fread(into, 1, bytes, stdin) == bytes; }

void tick(Simulation& simulation) {
    Simulation::put(simulation.ports.PORT(clock, clock), 1);
    simulation.settle();
    Simulation::put(simulation.ports.PORT(clock, clock), 0);
}

int64_t run(Simulation& simulation, const Job& job, const std::vector<uint8_t>& a,
            const std::vector<uint8_t>& b, const std::vector<uint8_t>& parameters,
            std::vector<int8_t>& values) {
    auto& ports = simulation.ports;
    const int64_t depth = job.depth, columns = job.columns, rows = job.rows, chunks = job.chunks;
    const int64_t a_total = columns * rows * chunks * depth;
    const int64_t b_total = (chunks > 1 ? columns * rows * chunks : columns) * depth;
    const int64_t parameter_total = columns * kSide;
    const uint32_t stalls = static_cast<uint32_t>(job.stalls), seed = static_cast<uint32_t>(job.seed);
    Feeder a_feeder(a, kSide, stalls, 3u * seed + 1u), b_feeder(b, kSide, stalls, 5u * seed + 2u),
        parameter_feeder(parameters, 8, stalls, 7u * seed + 3u);

    Simulation::put(ports.PORT(depth_last, depth__last), job.depth - 1);
    Simulation::put(ports.PORT(columns_last, columns__last), job.columns - 1);
    Simulation::put(ports.PORT(rows_last, rows__last), job.rows - 1);
    Simulation::put(ports.PORT(chunks_last, chunks__last), job.chunks - 1);
    Simulation::put(ports.PORT(zero_point, zero__point), static_cast<uint8_t>(job.zero_point));
    Simulation::put(ports.PORT(low, low), static_cast<uint8_t>(job.low));
    Simulation::put(ports.PORT(high, high), static_cast<uint8_t>(job.high));
    Simulation::put(ports.PORT(a_offered, a__offered), 0);
    Simulation::put(ports.PORT(b_offered, b__offered), 0);
    Simulation::put(ports.PORT(parameter_offered, parameter__offered), 0);
    Simulation::put(ports.PORT(reset, reset), 1);
    simulation.settle();
    for (int edge = 0; edge < 4 * kSide + 32; ++edge) tick(simulation), simulation.settle();
    Simulation::put(ports.PORT(reset, reset), 0);

    const int64_t per_channel = columns * rows * kSide;
    int64_t missing = per_channel * kSide, received[kSide] = {};
    for (int64_t edges = 0; edges < job.limit; ++edges) {
        Simulation::put(ports.PORT(start, start), edges == 0);
        const bool a_offered = a_feeder.offers(a_total), b_offered = b_feeder.offers(b_total),
                   parameter_offered = parameter_feeder.offers(parameter_total);
        Simulation::put(ports.PORT(a_offered, a__offered), a_offered);
        Simulation::put(ports.PORT(b_offered, b__offered), b_offered);
        Simulation::put(ports.PORT(parameter_offered, parameter__offered), parameter_offered);
        if (a_offered) {
            const int64_t column = a_feeder.sent() / (rows * chunks * depth);
            const int64_t within = a_feeder.sent() % (rows * chunks * depth);
            const int64_t from = job.a_columns > 1 ? column * rows * chunks * depth : 0;
            Simulation::put_bytes(ports.PORT(a_word, a__word), a_feeder.word(from + within), kSide);
        }
        if (b_offered) {
            const int64_t block = chunks * depth;
            const int64_t column = b_feeder.sent() / (chunks > 1 ? rows * block : block);
            Simulation::put_bytes(ports.PORT(b_word, b__word),
                                  b_feeder.word(column * block + b_feeder.sent() % block), kSide);
        }
        if (parameter_offered)
            Simulation::put_bytes(ports.PORT(parameter_word, parameter__word),
                                  parameter_feeder.word(parameter_feeder.sent()), 8);
        simulation.settle();
        // Outputs are registers: what they show now follows the edge before.
        const uint64_t valid = Simulation::get(ports.PORT(value_valid, value__valid));
        for (int channel = 0; channel < kSide; ++channel) {
            if (!(valid >> channel & 1u)) continue;
            if (received[channel] == per_channel) return -1;
            values[static_cast<size_t>(received[channel]++ * kSide + channel)] =
                static_cast<int8_t>(Simulation::byte(ports.PORT(values, values), channel));
            if (--missing == 0) return edges;
        }
        if (a_offered && Simulation::get(ports.PORT(a_accepted, a__accepted))) a_feeder.advance();
        if (b_offered && Simulation::get(ports.PORT(b_accepted, b__accepted))) b_feeder.advance();
        if (parameter_offered &&
            Simulation::get(ports.PORT(parameter_accepted, parameter__accepted)))
            parameter_feeder.advance();
        tick(simulation);
    }
    return -1;
}

}  // namespace

int main() {
    Simulation simulation;
    Job job;
    std::vector<uint8_t> a, b, parameters;
    std::vector<int8_t> values;
    while (read_exactly(&job, sizeof job)) {
        const size_t columns = static_cast<size_t>(job.columns);
        const size_t words = static_cast<size_t>(job.chunks) * static_cast<size_t>(job.depth);
        a.resize(static_cast<size_t>(job.a_columns) * static_cast<size_t>(job.rows) * words * kSide);
        b.resize(columns * words * kSide);
        parameters.resize(columns * kSide * 8);
        values.assign(columns * static_cast<size_t>(job.rows) * kSide * kSide, 0);
        if (!read_exactly(a.data(), a.size()) || !read_exactly(b.data(), b.size()) ||
            !read_exactly(parameters.data(), parameters.size()))
            return 1;
        const int64_t cycles = run(simulation, job, a, b, parameters, values);
        std::fwrite(&cycles, sizeof cycles, 1, stdout);
        std::fwrite(values.data(), 1, values.size(), stdout);
        std::fflush(stdout);
    }
    return 0;
}
