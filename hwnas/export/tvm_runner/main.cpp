// Runs an exported network on raw float32 images, without Python.
//
//   runner model.so 1x3x224x224 images.f32 logits.f32 [repeats]
//
// The second argument is the shape of the network's input. The file holds any number of images one
// after another; the logits are written in the same order. The median time of one image is
// printed.

#include <tvm/ffi/container/shape.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;

namespace {

constexpr int kMemoryPool = 2;  // the virtual machine keeps its buffers between runs

struct AlignedMemory {
    void AllocData(DLTensor* tensor) {
        const size_t bytes = (ffi::GetDataSize(*tensor) + 63) / 64 * 64;
        tensor->data = std::aligned_alloc(64, bytes);
        if (tensor->data == nullptr) throw std::bad_alloc();
    }
    void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

std::vector<int64_t> read_shape(const std::string& text) {
    std::vector<int64_t> shape;
    size_t begin = 0;
    while (begin <= text.size()) {
        const size_t end = std::min(text.find('x', begin), text.size());
        const std::string side = text.substr(begin, end - begin);
        if (side.empty() || side.size() > 9 ||
            side.find_first_not_of("0123456789") != std::string::npos || std::stoll(side) == 0) {
            throw std::invalid_argument("'" + text + "' is no shape: write it like 1x3x224x224");
        }
        shape.push_back(std::stoll(side));
        begin = end + 1;
    }
    return shape;
}

std::vector<float> read_floats(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw std::runtime_error("cannot read " + path);
    const std::streamoff bytes = file.tellg();
    if (bytes < 0 || bytes % sizeof(float) != 0) {
        throw std::runtime_error(path + " does not hold whole float32 numbers");
    }
    std::vector<float> values(static_cast<size_t>(bytes) / sizeof(float));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(values.data()), bytes);
    if (!file) throw std::runtime_error("cannot read " + path);
    return values;
}

// The function `main` of a virtual machine that executes the library.
ffi::Function load_network(const std::string& path, ffi::Optional<ffi::Module>* machine) {
    // The loader would look for a name without a folder in the system's library path.
    const std::string file = std::filesystem::absolute(path).string();
    ffi::Module library = ffi::Module::LoadFromFile(file);
    ffi::Optional<ffi::Function> make = library->GetFunction("vm_load_executable");
    if (!make.has_value()) throw std::runtime_error(path + " is no network exported by TVM");
    *machine = (*make)().cast<ffi::Module>();
    (*(*machine).value()->GetFunction("vm_initialization"))(static_cast<int>(kDLCPU), 0,
                                                            kMemoryPool);
    return *(*machine).value()->GetFunction("main");
}

ffi::Tensor first_tensor(const ffi::Any& result) {
    if (auto tensor = result.try_cast<ffi::Tensor>()) return *tensor;
    return result.cast<ffi::Array<ffi::Tensor>>()[0];
}

int run(const std::vector<std::string>& arguments) {
    const std::vector<int64_t> shape = read_shape(arguments[1]);
    const std::vector<float> images = read_floats(arguments[2]);
    const int repeats = arguments.size() > 4 ? std::max(1, std::atoi(arguments[4].c_str())) : 1;
    size_t floats = 1;
    for (int64_t side : shape) floats *= static_cast<size_t>(side);
    if (images.empty() || images.size() % floats != 0) {
        throw std::runtime_error(arguments[2] + " holds no whole number of inputs of shape " +
                                 arguments[1]);
    }

    ffi::Optional<ffi::Module> machine;
    const ffi::Function network = load_network(arguments[0], &machine);
    const DLDevice cpu{kDLCPU, 0};
    ffi::Tensor input =
        ffi::Tensor::FromNDAlloc(AlignedMemory(), ffi::ShapeView(shape.data(), shape.size()),
                                 DLDataType{kDLFloat, 32, 1}, cpu);
    std::ofstream out(arguments[3], std::ios::binary);
    std::vector<double> milliseconds;
    for (size_t begin = 0; begin < images.size(); begin += floats) {
        std::memcpy(input.data_ptr(), images.data() + begin, floats * sizeof(float));
        ffi::Any result;
        for (int i = 0; i < repeats; ++i) {
            const auto start = std::chrono::steady_clock::now();
            result = network(input);
            const std::chrono::duration<double, std::milli> passed =
                std::chrono::steady_clock::now() - start;
            milliseconds.push_back(passed.count());
        }
        const ffi::Tensor logits = first_tensor(result);
        out.write(static_cast<const char*>(logits.data_ptr()),
                  static_cast<std::streamsize>(logits.numel() * sizeof(float)));
    }
    out.close();
    if (!out) throw std::runtime_error("cannot write " + arguments[3]);
    std::nth_element(milliseconds.begin(), milliseconds.begin() + milliseconds.size() / 2,
                     milliseconds.end());
    std::cout << images.size() / floats << " images, median "
              << milliseconds[milliseconds.size() / 2] << " ms each" << std::endl;
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5 || argc > 6) {
        std::cerr << "usage: runner MODEL.so SHAPE IMAGES.f32 LOGITS.f32 [REPEATS]\n";
        return 2;
    }
    try {
        return run(std::vector<std::string>(argv + 1, argv + argc));
    } catch (const std::exception& error) {
        std::cerr << "runner: " << error.what() << "\n";
        return 1;
    }
}
