"""The rehearsal: a run as large as the paper's, on machines that are not there."""
