#include "cuda/blas.h"

#include <dlfcn.h>

#include "base/error.h"

namespace diffulex::cuda {

struct BlasApi {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
};

namespace {

constexpr size_t kWorkspace = size_t{32} << 20;
constexpr const char* kLibrary = "libcublasLt.so.13";  // of the toolkit whose header this includes

template <class Function>
void bind(void* library, const char* name, Function* out) {
  *out = reinterpret_cast<Function>(dlsym(library, name));
  if (*out == nullptr)
    throw Error(DIFFULEX_E_DEVICE_UNAVAILABLE, std::string(kLibrary) + " has no " + name);
}

BlasApi open_library() {
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);  // stays open
  if (library == nullptr)
    throw Error(DIFFULEX_E_DEVICE_UNAVAILABLE,
                std::string("CUDA devices need ") + kLibrary + ": " + dlerror())
        .with("device", "cuda");
  BlasApi api{};
  bind(library, "cublasLtCreate", &api.create);
  bind(library, "cublasLtDestroy", &api.destroy);
  bind(library, "cublasLtGetVersion", &api.version);
  bind(library, "cublasLtMatmul", &api.matmul);
  bind(library, "cublasLtMatmulDescCreate", &api.desc_create);
  bind(library, "cublasLtMatmulDescDestroy", &api.desc_destroy);
  bind(library, "cublasLtMatmulDescSetAttribute", &api.desc_set);
  bind(library, "cublasLtMatrixLayoutCreate", &api.layout_create);
  bind(library, "cublasLtMatrixLayoutDestroy", &api.layout_destroy);
  bind(library, "cublasLtMatmulPreferenceCreate", &api.preference_create);
  bind(library, "cublasLtMatmulPreferenceDestroy", &api.preference_destroy);
  bind(library, "cublasLtMatmulPreferenceSetAttribute", &api.preference_set);
  bind(library, "cublasLtMatmulAlgoGetHeuristic", &api.heuristic);
  return api;
}

const BlasApi& library() {
  static const BlasApi api = open_library();
  return api;
}

cudaDataType type_of(DType dtype) { return dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F; }

}  // namespace

Blas::Blas() : api_(library()), workspace_(kWorkspace) {
  check(api_.create(&handle_), "cublasLtCreate");
}

Blas::~Blas() {
  for (auto& [key, k] : kernels_) {
    (void)api_.desc_destroy(k.operation);
    for (cublasLtMatrixLayout_t layout : {k.w, k.x, k.y}) (void)api_.layout_destroy(layout);
  }
  if (handle_ != nullptr) (void)api_.destroy(handle_);
}

void Blas::check(cublasStatus_t status, const char* what) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const auto kind =
      status == CUBLAS_STATUS_ALLOC_FAILED ? DIFFULEX_E_DEVICE_MEMORY : DIFFULEX_E_DEVICE_FAULT;
  throw Error(kind, std::string(what) + " failed with status " + std::to_string(status));
}

std::string Blas::version() const {
  const size_t v = api_.version();
  return std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." +
         std::to_string(v % 100);
}

// cuBLASLt counts columns first: transpose(y) = w * transpose(x), where w is stored as [k, n].
Blas::Kernel Blas::make(const Product& p) const {
  const auto rows = static_cast<uint64_t>(p.rows), n = static_cast<uint64_t>(p.n),
             k = static_cast<uint64_t>(p.k);
  Kernel kernel;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  check(api_.desc_create(&kernel.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
  check(
      api_.desc_set(kernel.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)),
      "a product");
  check(api_.layout_create(&kernel.w, type_of(p.in), k, n, p.k), "a layout");
  check(api_.layout_create(&kernel.x, type_of(p.in), k, rows, p.k), "a layout");
  check(api_.layout_create(&kernel.y, type_of(p.out), n, rows, p.n), "a layout");
  cublasLtMatmulPreference_t preference = nullptr;
  check(api_.preference_create(&preference), "a preference");
  const size_t bytes = workspace_.bytes();
  check(api_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                            sizeof(bytes)),
        "a preference");
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = api_.heuristic(handle_, kernel.operation, kernel.w, kernel.x,
                                               kernel.y, kernel.y, preference, 1, &result, &found);
  (void)api_.preference_destroy(preference);
  check(found > 0 ? status : CUBLAS_STATUS_NOT_SUPPORTED, "the choice of a product's kernel");
  kernel.algorithm = result.algo;
  return kernel;
}

const Blas::Kernel& Blas::kernel(const Product& p) {
  const Key key{p.rows, p.n, p.k, p.in, p.out, p.accumulate};
  const auto found = kernels_.find(key);
  if (found != kernels_.end()) return found->second;
  return kernels_.emplace(key, make(p)).first->second;
}

void Blas::run(const Product& p, cudaStream_t stream) {
  const Kernel& k = kernel(p);
  const float one = 1, old = p.accumulate ? 1.0f : 0.0f;
  check(api_.matmul(handle_, k.operation, &one, p.w, k.w, p.x, k.x, &old, p.y, k.y, p.y, k.y,
                    &k.algorithm, workspace_.as(), workspace_.bytes(), stream),
        "cublasLtMatmul");
}

}  // namespace diffulex::cuda
