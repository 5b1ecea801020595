// What Verilator counted, where the design was built with coverage.
#pragma once

#include <verilated.h>
#if VM_COVERAGE
#include <verilated_cov.h>
#endif

namespace ianus {

/// Write the counts of `context` to `path`; 0 if there are none.
inline int write_counts([[maybe_unused]] VerilatedContext& context, [[maybe_unused]] const char* path) {
#if VM_COVERAGE
    context.coveragep()->write(path);
    return 1;
#else
    return 0;
#endif
}

}  // namespace ianus
