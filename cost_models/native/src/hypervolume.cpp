#include "hwnas/hypervolume.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <stdexcept>
#include <vector>

namespace hwnas {
namespace {

using Point = std::vector<double>;

double length(const std::vector<Point>& points, const double* reference) {
    double best = reference[0];
    for (const Point& point : points) {
        best = std::min(best, point[0]);
    }
    return reference[0] - best;
}

double area(std::vector<Point> points, const double* reference) {
    std::sort(points.begin(), points.end());
    double total = 0;
    double ceiling = reference[1];
    for (const Point& point : points) {
        if (point[1] < ceiling) {
            total += (reference[0] - point[0]) * (ceiling - point[1]);
            ceiling = point[1];
        }
    }
    return total;
}

// Sweeps the third objective upwards and keeps the area that the points so far dominate in the
// first two.
double volume(std::vector<Point> points, const double* reference) {
    std::sort(points.begin(), points.end(),
              [](const Point& a, const Point& b) { return a[2] < b[2]; });
    // First objective -> second, strictly falling.
    std::map<double, double> stair;
    double covered = 0;
    double total = 0;
    for (std::size_t i = 0; i < points.size(); ++i) {
        const double x = points[i][0];
        const double y = points[i][1];
        auto step = stair.upper_bound(x);
        double ceiling = step == stair.begin() ? reference[1] : std::prev(step)->second;
        if (y < ceiling) {
            // Steps to the right that the new point dominates, and the area it adds above each.
            auto next = stair.lower_bound(x);
            if (next != stair.end() && next->first == x) {
                next = stair.erase(next);
            }
            double left = x;
            while (next != stair.end() && next->second >= y) {
                covered += (next->first - left) * (ceiling - y);
                left = next->first;
                ceiling = next->second;
                next = stair.erase(next);
            }
            const double right = next == stair.end() ? reference[0] : next->first;
            covered += (right - left) * (ceiling - y);
            stair.emplace_hint(next, x, y);
        }
        const double top = i + 1 < points.size() ? points[i + 1][2] : reference[2];
        if (top > points[i][2]) {
            total += covered * (top - points[i][2]);
        }
    }
    return total;
}

bool weakly_dominates(const Point& a, const Point& b) {
    for (std::size_t j = 0; j < a.size(); ++j) {
        if (a[j] > b[j]) {
            return false;
        }
    }
    return true;
}

std::vector<Point> non_dominated(std::vector<Point> points) {
    std::sort(points.begin(), points.end());
    std::vector<Point> front;
    for (Point& point : points) {
        const bool dominated =
            std::any_of(front.begin(), front.end(),
                        [&point](const Point& member) { return weakly_dominates(member, point); });
        if (!dominated) {
            front.push_back(std::move(point));
        }
    }
    return front;
}

// [Whi12]: each point's own box, less what the later points cover of it.
double exclusive_sum(const std::vector<Point>& front, const double* reference) {
    double total = 0;
    for (std::size_t i = 0; i < front.size(); ++i) {
        double box = 1;
        for (std::size_t j = 0; j < front[i].size(); ++j) {
            box *= reference[j] - front[i][j];
        }
        std::vector<Point> limited;
        for (std::size_t k = i + 1; k < front.size(); ++k) {
            Point corner(front[i].size());
            for (std::size_t j = 0; j < corner.size(); ++j) {
                corner[j] = std::max(front[i][j], front[k][j]);
            }
            limited.push_back(std::move(corner));
        }
        total += box - exclusive_sum(non_dominated(std::move(limited)), reference);
    }
    return total;
}

}  // namespace

double hypervolume(const double* points, std::size_t n, std::size_t m, const double* reference) {
    if (m == 0) {
        throw std::invalid_argument("hypervolume: found 0 objectives; pass at least 1");
    }
    for (std::size_t j = 0; j < m; ++j) {
        if (!std::isfinite(reference[j])) {
            throw std::invalid_argument("hypervolume: the reference must be finite");
        }
    }
    std::vector<Point> inside;
    for (std::size_t i = 0; i < n; ++i) {
        bool better = true;
        for (std::size_t j = 0; j < m; ++j) {
            const double value = points[i * m + j];
            if (std::isnan(value)) {
                throw std::invalid_argument("hypervolume: found NaN among the points; drop them");
            }
            better = better && value < reference[j];
        }
        if (better) {
            inside.emplace_back(points + i * m, points + (i + 1) * m);
        }
    }
    if (inside.empty()) {
        return 0;
    }
    switch (m) {
        case 1:
            return length(inside, reference);
        case 2:
            return area(std::move(inside), reference);
        case 3:
            return volume(std::move(inside), reference);
        default:
            return exclusive_sum(non_dominated(std::move(inside)), reference);
    }
}

}  // namespace hwnas
