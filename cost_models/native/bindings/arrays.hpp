// NumPy arrays as bindings take them, and what they check.
#pragma once

#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hwnas {

template <typename T>
using Vector = nanobind::ndarray<T, nanobind::numpy, nanobind::shape<-1>, nanobind::c_contig,
                                 nanobind::device::cpu>;
template <typename T>
using Matrix = nanobind::ndarray<T, nanobind::numpy, nanobind::shape<-1, -1>, nanobind::c_contig,
                                 nanobind::device::cpu>;
template <typename T>
using Cube = nanobind::ndarray<T, nanobind::numpy, nanobind::shape<-1, -1, -1>, nanobind::c_contig,
                               nanobind::device::cpu>;
using Population = Matrix<const std::uint8_t>;

template <typename T>
std::vector<T> copy(const Vector<const T>& array) {
    return {array.data(), array.data() + array.size()};
}

template <typename Array>
void require_shape(const Array& array, const char* name, const std::vector<std::size_t>& wanted) {
    bool fits = true;
    std::string found, asked;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        fits = fits && array.shape(i) == wanted[i];
        found += (i ? ", " : "") + std::to_string(array.shape(i));
        asked += (i ? ", " : "") + std::to_string(wanted[i]);
    }
    if (fits) return;
    const std::string text =
        std::string(name) + " has shape (" + found + "), wanted (" + asked + ")";
    throw nanobind::type_error(text.c_str());
}

inline std::size_t rows_of(const Population& population, std::size_t decisions) {
    require_shape(population, "population", {population.shape(0), decisions});
    return population.shape(0);
}

}  // namespace hwnas
