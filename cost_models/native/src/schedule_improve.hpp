// Good schedules by moving layers between sub-accelerators. Internal.
#pragma once

#include "schedule_chip.hpp"

namespace hwnas {

class Improver {
  public:
    explicit Improver(const Chip& chip);

    // Moves critical layers until the makespan is within `limit` or no move shortens it. Of moves
    // that reach the limit the one of least energy is taken, else the one that buys most cycles
    // for its energy. Returns the makespan.
    double shorten(Assignment& assignment, double limit);

    // Moves layers, and pairs of layers against each other, where that saves energy and keeps the
    // makespan within `limit`; it must be within it. Returns the makespan.
    double cheapen(Assignment& assignment, double limit);

    // Each layer, in order of its network's remaining work, where it ends first.
    Assignment earliest_ends();

    Dispatcher& dispatcher() { return dispatcher_; }

  private:
    struct Move {
        double saved;  // energy
        std::size_t layer;
        std::uint8_t sub;
    };

    void load(const Assignment& assignment);
    void shift(std::size_t layer, std::uint8_t from, std::uint8_t to);
    double load_bound() const;
    bool is_within(const Assignment& assignment, double limit);
    bool cheaper_move(Assignment& assignment, double limit);
    bool cheaper_pair(Assignment& assignment, double limit);

    const Chip& chip_;
    Dispatcher dispatcher_;
    std::array<double, kMostSubAccelerators> sub_load_{};
    std::array<double, kMostNetworks> network_load_{};
    std::vector<std::size_t> critical_;
    std::vector<Move> moves_;
};

}  // namespace hwnas
