"""The channel-dimension search (paper, section 4): space, study, candidate training, the job."""
